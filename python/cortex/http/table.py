"""Route table: exact paths in a dictionary, patterns with `:name` and `*rest` in a tree of segments.

Precedence: 1. exact path; 2. segment by segment from the left, a literal before `:name` before `*rest`, with
backtracking. A segment is matched as it stands on the wire and decoded afterwards, so `org%2Fmodel` is one segment.
"""

from typing import Generic, TypeVar
from urllib.parse import unquote

__all__ = ["RouteTable"]

T = TypeVar("T")


class _Node(Generic[T]):
    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] = {}
        self.param: _Node[T] | None = None
        self.rest: tuple[tuple[str, ...], T] | None = None
        self.end: tuple[tuple[str, ...], T] | None = None


class RouteTable(Generic[T]):
    """The routes of one method. Two routes of the same shape are a ValueError when the second is added."""

    def __init__(self) -> None:
        self._static: dict[str, T] = {}
        self._root: _Node[T] = _Node()

    def add(self, pattern: str, value: T) -> None:
        """Add a pattern as Robyn writes it: `/models/:id/endpoint`, `/v1/models/*id`."""
        segments = pattern.strip("/").split("/")
        if not any(segment[:1] in (":", "*") for segment in segments):
            if pattern in self._static:
                raise ValueError(f"route {pattern} exists already")
            self._static[pattern] = value
            return
        node = self._root
        names: list[str] = []
        for index, segment in enumerate(segments):
            if segment.startswith("*"):
                if index + 1 < len(segments) or node.rest is not None:
                    raise ValueError(f"route {pattern}: `*` stands last and once")
                node.rest = ((*names, segment[1:] or "rest"), value)
                return
            if segment.startswith(":"):
                names.append(segment[1:])
                node.param = node.param or _Node()
                node = node.param
            else:
                node = node.literals.setdefault(segment, _Node())
        if node.end is not None:
            raise ValueError(f"route {pattern} exists already")
        node.end = (tuple(names), value)

    def match(self, raw_path: str) -> tuple[T, dict[str, str]] | None:
        """The route of a path as it stands on the wire, with its decoded parameters, or None."""
        decoded = unquote(raw_path)
        found = self._static.get(decoded if len(decoded) == 1 else decoded.rstrip("/") or "/")
        if found is not None and decoded.count("/") == raw_path.count("/"):
            return found, {}
        segments = raw_path.strip("/").split("/")
        hit = self._walk(self._root, segments, 0, ())
        if hit is None:
            return None
        (names, value), texts = hit
        return value, dict(zip(names, map(unquote, texts), strict=True))

    def _walk(
        self, node: _Node[T], segments: list[str], at: int, taken: tuple[str, ...]
    ) -> tuple[tuple[tuple[str, ...], T], tuple[str, ...]] | None:
        if at == len(segments):
            return None if node.end is None else (node.end, taken)
        segment = segments[at]
        literal = node.literals.get(unquote(segment))
        if literal is not None and (hit := self._walk(literal, segments, at + 1, taken)) is not None:
            return hit
        if node.param is not None and segment:
            hit = self._walk(node.param, segments, at + 1, (*taken, segment))
            if hit is not None:
                return hit
        if node.rest is not None and any(segments[at:]):
            return node.rest, (*taken, "/".join(segments[at:]))
        return None
