"""`neuron check`: what the daemon would say at its start, without starting it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cortex.cli.neuron import app
from cortex.errors import ConfigError


def check(folder: Path, text: str) -> BaseException | None:
    path = folder / "neuron.toml"
    path.write_text(text)
    result = CliRunner().invoke(app, ["check", "--config", str(path)])
    return result.exception


def test_a_right_file_passes_and_a_wrong_one_is_told(tmp_path: Path) -> None:
    assert check(tmp_path, "port = 1\n") is None
    wrong = check(tmp_path, "prot = 1\n")
    assert isinstance(wrong, ConfigError)
    assert "neuron.toml:1: unknown key 'prot'; did you mean 'port'" in wrong.message


@pytest.mark.parametrize("mode", [0o640, 0o644])
def test_the_token_that_the_file_names_is_looked_at(tmp_path: Path, mode: int) -> None:
    text = '[auth]\ntoken_file = "token"\n'
    absent = check(tmp_path, text)
    assert isinstance(absent, ConfigError)
    token = tmp_path / "token"
    token.write_text("0123456789abcdef\n")
    token.chmod(mode)
    found = check(tmp_path, text)
    assert (found is None) is (mode == 0o640), found
