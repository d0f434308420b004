"""A control group for each host: hosts that share one would kill each other's services."""

import contextlib
from pathlib import Path

__all__ = ["forget_cgroup", "make_cgroup"]


def make_cgroup(name: str) -> list[Path]:
    """The files that a process writes itself into: of the unified hierarchy and, beside it, of systemd's old one."""
    folders = [mount / name for mount in _mounts()]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    return [folder / "cgroup.procs" for folder in folders]


def forget_cgroup(name: str) -> None:
    """With what the host's systemd made in it; what still has processes stays."""
    for mount in _mounts():
        inner = sorted((mount / name).rglob("*"), reverse=True)
        for folder in [*(path for path in inner if path.is_dir()), mount / name]:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _mounts() -> list[Path]:
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [Path(words[1]) for words in lines if words[2] == "cgroup2" or "name=systemd" in words[3].split(",")]
