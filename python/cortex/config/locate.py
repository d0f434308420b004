"""Find the line of a key in a TOML text, for error messages (tomllib keeps no positions)."""

import re
from collections.abc import Sequence

__all__ = ["find_line"]

HEADER = re.compile(r"^\s*(?P<open>\[\[?)\s*(?P<name>[^\]]+?)\s*\]\]?\s*(#.*)?$")
KEY = re.compile(r"^\s*(?P<key>[A-Za-z0-9_.\"' -]+?)\s*=")


def find_line(text: str, steps: Sequence[str | int]) -> int | None:
    """The 1-based line where `steps` stands first, else of its longest prefix that the text has, or None."""
    wanted = tuple(steps)
    best: tuple[int, int] | None = None
    for number, path in _places(text):
        if path[: len(wanted)] == wanted:
            return number
        if path == wanted[: len(path)] and (best is None or len(path) > best[0]):
            best = (len(path), number)
    return best[1] if best else None


def _places(text: str) -> list[tuple[int, tuple[str | int, ...]]]:
    places: list[tuple[int, tuple[str | int, ...]]] = []
    counts: dict[tuple[str, ...], int] = {}
    table: tuple[str | int, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        header = HEADER.match(line)
        if header:
            names = _split(header.group("name"))
            if header.group("open") == "[[":
                counts[names] = counts.get(names, -1) + 1
            table = _indexed(names, counts)
            places.append((number, table))
            continue
        key = KEY.match(line)
        if key:
            places.append((number, (*table, *_split(key.group("key")))))
    return places


def _indexed(names: tuple[str, ...], counts: dict[tuple[str, ...], int]) -> tuple[str | int, ...]:
    path: list[str | int] = []
    for depth, name in enumerate(names, start=1):
        path.append(name)
        if names[:depth] in counts:
            path.append(counts[names[:depth]])
    return tuple(path)


def _split(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
