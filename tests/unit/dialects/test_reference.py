"""docs/reference/dialects.md names every field that is accepted without meaning."""

import re

import pytest

from cortex.dialects import anthropic, openai_chat, openai_completions, openai_responses
from tests.conftest import ROOT

REFERENCE = ROOT / "docs" / "reference" / "dialects.md"


@pytest.mark.parametrize(
    ("row", "fields"),
    [
        ("chat", openai_chat.IGNORED_FIELDS),
        ("completions", openai_completions.IGNORED_FIELDS),
        ("responses", openai_responses.IGNORED_FIELDS),
        ("messages", anthropic.IGNORED_FIELDS),
    ],
)
def test_ignored_fields_are_listed(row: str, fields: tuple[str, ...]) -> None:
    line = next(line for line in REFERENCE.read_text().splitlines() if line.startswith(f"| {row} |"))
    listed = [name for name in re.findall(r"`([a-z_.]+)`", line) if name not in ("none", "web_search", "local_shell")]
    assert listed == sorted(fields)
