"""RAM that this process may use: the machine's, cut by every memory cgroup above the process, version 1 or 2."""

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["HostMemory"]

_KIB = 1024
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = ("memory.max", "memory.current", "inactive_file")


class HostMemory:
    """Reads `/proc` and `/sys/fs/cgroup` below `root`; a file that is missing says nothing."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._proc = root / "proc"
        self._cgroup = root / "sys/fs/cgroup"

    def total_and_free(self) -> tuple[int, int]:
        """Bytes in all and bytes free. File cache that the kernel would drop counts as free."""
        machine = _table(self._proc / "meminfo")
        total = machine.get("MemTotal", 0) * _KIB
        free = machine.get("MemAvailable", 0) * _KIB
        for limit, used in self._limits():
            total = min(total, limit)
            free = min(free, max(0, limit - used))
        return total, free

    def resident_bytes(self) -> int:
        """Memory of this process that no file backs."""
        return _table(self._proc / "self/status").get("RssAnon", 0) * _KIB

    def cpu_name(self) -> str:
        """The processor's name, else the word CPU, with the number of cores that this process may use."""
        lines = _text(self._proc / "cpuinfo").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        cores = len(os.sched_getaffinity(0))
        return f"{names[0] if names else 'CPU'} ({cores} cores)"

    def _limits(self) -> Iterator[tuple[int, int]]:
        """(limit, use without droppable cache) of each memory cgroup that has a limit, from ours up to the top."""
        for folder, (limit_name, used_name, cache_name) in self._folders():
            limit = _text(folder / limit_name).strip()
            used = _text(folder / used_name).strip()
            if limit.isdecimal() and used.isdecimal():
                cache = _table(folder / "memory.stat").get(cache_name, 0)
                yield int(limit), max(0, int(used) - cache)

    def _folders(self) -> Iterator[tuple[Path, tuple[str, str, str]]]:
        for line in _text(self._proc / "self/cgroup").splitlines():
            number, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if "memory" in controllers.split(","):
                base, names = self._cgroup / "memory", _V1
            elif number == "0" and not controllers:
                base, names = self._cgroup, _V2
            else:
                continue
            # In a container the path may be the host's and not be there; its top then holds our limit.
            inner = Path(path.lstrip("/"))
            for part in (inner, *inner.parents):
                yield base / part, names


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _table(path: Path) -> dict[str, int]:
    """Lines `name: 12 kB` or `name 12` as numbers."""
    found = {}
    for line in _text(path).splitlines():
        words = line.replace(":", " ", 1).split()
        if len(words) >= 2 and words[1].isdecimal():
            found[words[0]] = int(words[1])
    return found
