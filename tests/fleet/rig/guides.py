"""The shell blocks of docs/guides, and which of them a test runs."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

__all__ = ["RUN", "Block", "block", "runs", "shell_blocks"]

GUIDES = Path(__file__).resolve().parents[3] / "docs" / "guides"
_BLOCK = re.compile(r"^ *```sh\n(?P<text>.*?)^ *```", re.MULTILINE | re.DOTALL)
_REASON = re.compile(r"\(not run by our tests: (?P<reason>[^)]+)\)")
_Test = TypeVar("_Test", bound=Callable[..., None])

# Filled by `runs` when the rig's tests are imported.
RUN: set[str] = set()


class Block(NamedTuple):
    """`place` is its first line, which says where it is run; `reason` is why no test runs it, as that line says."""

    place: str
    text: str
    reason: str | None


def shell_blocks() -> dict[str, Block]:
    """All, by GUIDE:NUMBER, counted from 0."""
    found = {}
    for path in sorted(GUIDES.glob("*.md")):
        for number, match in enumerate(_BLOCK.finditer(path.read_text())):
            place, _, text = match["text"].partition("\n")
            reason = _REASON.search(place)
            found[f"{path.name}:{number}"] = Block(place.strip(), text, reason["reason"] if reason else None)
    return found


def block(name: str, places: Mapping[str, str] | None = None) -> str:
    """A block's commands, with the rig's names and addresses in the place of the guide's; each must occur in it."""
    text = shell_blocks()[name].text
    for written, ours in (places or {}).items():
        assert written in text, f"{name} does not say {written} any more"
        text = text.replace(written, ours)
    return text


def runs(*names: str) -> Callable[[_Test], _Test]:
    """Says which blocks a test runs."""
    RUN.update(names)
    return lambda test: test
