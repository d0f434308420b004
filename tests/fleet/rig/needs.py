"""What this machine lacks to boot hosts, in words."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.fleet.rig.cgroups import forget_cgroup, make_cgroup

__all__ = ["missing"]

_TRIAL = "cxrig-trial"
_COMMANDS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "rpmbuild": "rpm",
    "createrepo_c": "createrepo-c",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}


def missing(folder: Path) -> list[str]:
    """Empty where the rig can run, with its hosts' files in `folder`."""
    if sys.platform != "linux":
        return ["Linux"]
    lacks = [] if os.geteuid() == 0 else ["root's rights"]
    lacks += [f"{name} (apt-get install {package})" for name, package in _COMMANDS.items() if not shutil.which(name)]
    return lacks or _refused(folder)


def _refused(folder: Path) -> list[str]:
    """What a container that is root in name only may not do, by trying it."""
    for name in ("lower", "upper", "work", "merged"):
        (folder / name).mkdir(exist_ok=True)
    layers = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work"
    merged = str(folder / "merged")
    lacks = []
    if _works("mount", "-t", "overlay", "overlay", "-o", layers, merged):
        _works("umount", merged)
    else:
        lacks.append(f"an overlay file system in {folder}")
    _works("ip", "netns", "del", _TRIAL)  # of a run that was killed
    if _works("ip", "netns", "add", _TRIAL):
        _works("ip", "netns", "del", _TRIAL)
    else:
        lacks.append("network namespaces")
    try:
        found = bool(make_cgroup(_TRIAL))
    except OSError:
        found = False
    forget_cgroup(_TRIAL)
    return lacks if found else [*lacks, "control groups that can be made"]


def _works(*words: str) -> bool:
    return subprocess.run(words, capture_output=True, check=False).returncode == 0
