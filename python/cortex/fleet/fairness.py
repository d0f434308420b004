"""FairQueue: who waits, served in turn by share, so that one caller's thousand requests delay nobody else's one."""

from collections import deque
from typing import Generic, TypeVar

__all__ = ["FairQueue"]

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Round robin over the shares that wait, first come first served within each. Items are told apart by identity."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[T]] = {}  # in the order of their turns
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def count(self, share: str) -> int:
        """How many of the share wait."""
        return len(self._lines.get(share, ()))

    def items(self) -> list[T]:
        """All that wait, in no promised order."""
        return [item for line in self._lines.values() for item in line]

    def push(self, share: str, item: T) -> None:
        """To the end of the share's line; a share that did not wait has its turn after those that do."""
        self._lines.setdefault(share, deque()).append(item)
        self._size += 1

    def pop(self) -> T | None:
        """The next, whose share then has its turn last; None when nobody waits."""
        if not self._lines:
            return None
        share = next(iter(self._lines))
        line = self._lines.pop(share)
        item = line.popleft()
        self._size -= 1
        if line:
            self._lines[share] = line
        return item

    def remove(self, share: str, item: T) -> None:
        """Take one out that waits no more; one that does not wait is fine."""
        line = self._lines.get(share)
        if line is None:
            return
        kept = deque(other for other in line if other is not item)
        self._size -= len(line) - len(kept)
        if kept:
            self._lines[share] = kept
        else:
            del self._lines[share]
