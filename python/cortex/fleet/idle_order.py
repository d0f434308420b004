"""IdleOrder: models that could go, longest unused first; kept in columns, so that a look at many of them is quick.

Rows of objects would cost several misses of the processor's caches each, which is most of the time of such a look.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import NamedTuple

__all__ = ["Idle", "IdleOrder", "IdleRow", "rows_of"]

IdleRow = tuple[float, int, int, float]


class Idle(NamedTuple):
    """A model that could go from a device now, or once it is `ripe_at` (its minimum stay). Sorts by the last use."""

    last_use: float
    place: int
    model: str
    freed: int
    ripe_at: float

    @property
    def row(self) -> IdleRow:
        """(last use, place, bytes freed, ripe at)."""
        return self.last_use, self.place, self.freed, self.ripe_at


class IdleOrder:
    """Sorted; nothing is in it twice."""

    def __init__(self) -> None:
        self._keys: list[Idle] = []
        self._uses, self._ripe = array("d"), array("d")
        self._places, self._freed = array("q"), array("q")

    def add(self, one: Idle) -> None:
        """Put one in."""
        at = bisect_left(self._keys, one)
        self._keys.insert(at, one)
        self._uses.insert(at, one.last_use)
        self._places.insert(at, one.place)
        self._freed.insert(at, one.freed)
        self._ripe.insert(at, one.ripe_at)

    def remove(self, one: Idle) -> None:
        """Take one out that is in it."""
        at = bisect_left(self._keys, one)
        for column in (self._keys, self._uses, self._places, self._freed, self._ripe):
            del column[at]

    def rows(self) -> Iterator[IdleRow]:
        """All, in order."""
        return zip(self._uses, self._places, self._freed, self._ripe, strict=True)


def rows_of(found: Iterable[Idle]) -> Iterator[IdleRow]:
    """These, in order."""
    return (one.row for one in sorted(found))
