"""What commands print: sizes, bars, tables, and errors with their hint."""

import pytest

from cortex.cli import cortex, output
from cortex.errors import ConfigError


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 KB"), (98_362_432, "98.4 MB"), (150e9, "150 GB"), (5e15, "5000 TB")],
)
def test_bytes_for_people(count: float, text: str) -> None:
    assert output.human_bytes(count) == text


@pytest.mark.parametrize(
    ("done", "total", "text"), [(0, 0, ""), (1, 4, "[#...] 25%"), (9, 4, "[####] 100%"), (-1, 4, "[....] 0%")]
)
def test_the_bar_stays_within_its_bounds(done: int, total: int, text: str) -> None:
    assert output.progress_bar(done, total, width=4) == text


def test_columns_are_as_wide_as_their_widest_cell(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("A", "B"), [("long", "x"), ("s", "")])
    assert capsys.readouterr().out == "A     B\nlong  x\ns\n"


def test_json_keeps_letters(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"name": "é"})
    assert capsys.readouterr().out == '{\n  "name": "é"\n}\n'


def test_our_errors_end_a_command_with_one_line_and_a_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise ConfigError("cortex.toml: line 3: unknown key")

    monkeypatch.setattr(cortex, "app", broken)
    with pytest.raises(SystemExit) as caught:
        cortex.main()
    assert caught.value.code == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[0] == "error: cortex.toml: line 3: unknown key"
    assert all(line.startswith("hint: ") for line in shown.err.splitlines()[1:])
