"""RPM's order of versions: which of two builds is newer."""

import re
from typing import NamedTuple

__all__ = ["Build", "compare"]

_PARTS = re.compile(r"\d+|[a-zA-Z]+|~|\^")


class Build(NamedTuple):
    """One build of a package."""

    epoch: int
    version: str
    release: str

    @classmethod
    def of(cls, text: str) -> "Build":
        """From `EPOCH:VERSION-RELEASE` or `VERSION-RELEASE`; raises ValueError for what is neither."""
        epoch, colon, rest = text.rpartition(":")
        version, dash, release = rest.rpartition("-")
        if not dash or not version or not release:
            raise ValueError(f"{text!r} is not VERSION-RELEASE")
        return cls(int(epoch) if colon else 0, version, release)

    def __str__(self) -> str:
        bare = f"{self.version}-{self.release}"
        return f"{self.epoch}:{bare}" if self.epoch else bare

    def newer_than(self, other: "Build") -> bool:
        """By epoch, then version, then release."""
        if self.epoch != other.epoch:
            return self.epoch > other.epoch
        return (compare(self.version, other.version) or compare(self.release, other.release)) > 0


def compare(left: str, right: str) -> int:
    """-1, 0 or 1 as rpmvercmp (rpm-version(7)): runs of digits by value, letters as text, digits after letters; a
    tilde comes before everything, even the end; a caret after the end and before anything else."""
    ours, theirs = _PARTS.findall(left), _PARTS.findall(right)
    for place in range(max(len(ours), len(theirs))):
        a = ours[place] if place < len(ours) else ""
        b = theirs[place] if place < len(theirs) else ""
        if _rank(a) != _rank(b):
            return 1 if _rank(a) > _rank(b) else -1
    return 0


def _rank(part: str) -> tuple[int, int, str]:
    if part == "~":
        return (0, 0, "")
    if not part:
        return (1, 0, "")
    if part == "^":
        return (2, 0, "")
    return (4, int(part), "") if part.isdigit() else (3, 0, part)
