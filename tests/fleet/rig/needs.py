"""What this machine lacks to boot hosts, in words."""

import os
import shutil
import sys
from pathlib import Path

__all__ = ["missing"]

_COMMANDS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "rpmbuild": "rpm",
    "createrepo_c": "createrepo-c",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}


def missing() -> list[str]:
    """Empty where the rig can run."""
    if sys.platform != "linux":
        return ["Linux"]
    lacks = [] if os.geteuid() == 0 else ["root's rights"]
    lacks += [f"{name} (apt-get install {package})" for name, package in _COMMANDS.items() if not shutil.which(name)]
    if "\toverlay\n" not in Path("/proc/filesystems").read_text():
        lacks.append("the overlay file system")
    return lacks
