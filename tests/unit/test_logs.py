"""Log lines: one an event, for people or for collectors, whatever is in the fields."""

import json
import logging
from collections.abc import Iterator

import pytest

from cortex import logs

LOG = logging.getLogger("cortex.test")


@pytest.fixture(autouse=True)
def loggers_as_they_were() -> Iterator[None]:
    """`configure` is for a process; a test gives everything back."""
    root, own, server = logging.getLogger(), logging.getLogger("cortex"), logging.getLogger("_granian")
    before = (list(root.handlers), root.level, own.level, server.level)
    yield
    root.handlers[:] = before[0]
    for logger, level in zip((root, own, server), before[1:], strict=True):
        logger.setLevel(level)


def test_text_quotes_what_would_break_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "text")
    logs.event(LOG, logging.INFO, "loaded", model="a b\nc", size=3, nothing=None, empty="")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith('INFO    cortex.test: loaded model="a b\\nc" size=3 empty=""')


def test_json_is_one_object_a_line_with_the_exception(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    try:
        raise ValueError("broken\nfile")
    except ValueError:
        LOG.exception("load failed", extra={"fields": {"model": "é"}})
    (line,) = capsys.readouterr().err.splitlines()
    value = json.loads(line)
    assert (value["level"], value["message"], value["model"]) == ("error", "load failed", "é")
    assert "ValueError: broken" in value["exception"]


def test_below_the_level_nothing_is_said_and_libraries_only_warn(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning")
    logs.event(LOG, logging.INFO, "quiet")
    logging.getLogger("library").info("chatter")
    logging.getLogger("library").warning("heard")
    assert [line.rsplit(": ", 1)[1] for line in capsys.readouterr().err.splitlines()] == ["heard"]
