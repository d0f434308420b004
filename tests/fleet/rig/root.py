"""The root file system that all hosts share: Debian's packages of systemd, sshd, dnf5 and rpm; made once, cached."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

__all__ = ["CACHE", "Root", "cached", "make_root", "run"]

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cortex" / "fleet"
PACKAGES = "systemd,systemd-sysv,dbus,openssh-server,dnf5,rpm,python3,python3-venv,iproute2,procps,firewalld"
_TAR = CACHE / f"root-{hashlib.sha256(PACKAGES.encode()).hexdigest()[:12]}.tar"
# What a Debian root has, said to RPM.
BASE = """\
Name: rig-base
Version: 1
Release: 1
Summary: What the root file system brings
License: MIT
BuildArch: noarch
Provides: python(abi) = {python}
Provides: systemd
Provides: /bin/sh
%description
%{{summary}}.
%files
"""
# A firewall only where a test starts one, no manager of the rig's network; no plugin of dnf that copies packages and
# wants createrepo_c on every host; one user manager from the start, not one for each connection.
SETUP = """\
mkdir -p /etc/systemd/system-preset /var/lib/systemd/linger
printf 'disable firewalld.service\ndisable systemd-networkd*\n' > /etc/systemd/system-preset/00-rig.preset
systemctl disable firewalld.service
touch /var/lib/systemd/linger/root
sed -i 's/^enabled = .*/enabled = false/' /etc/dnf/libdnf5-plugins/local.conf
rm -f /etc/machine-id
"""


class Root:
    """Unpacked at `path`, never written to again; `key` opens every host."""

    def __init__(self, path: Path, key: Path, python: str) -> None:
        self.path = path
        self.key = key
        self.python = python


def run(*words: object, seconds: float = 900) -> str:
    """A command's standard output; with its messages in the error where it fails."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, words))}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def cached() -> bool:
    """Whether nothing has to be fetched."""
    return _TAR.exists()


def make_root() -> Root:
    """From the cache, else by mmdebstrap (two minutes, 320 MB)."""
    CACHE.mkdir(parents=True, exist_ok=True)
    key = CACHE / "key"
    if not key.exists():
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    public = key.with_suffix(".pub").read_text()
    name = hashlib.sha256((PACKAGES + BASE + SETUP + public).encode()).hexdigest()[:12]
    path = CACHE / f"root-{name}"
    if not path.exists():
        for old in CACHE.glob("root*"):
            if old.is_dir():
                shutil.rmtree(old)
            elif old != _TAR:
                old.unlink()
        _make(path, public)
    return Root(path, key, _python(path))


def _make(path: Path, public: str) -> None:
    building = path.with_suffix(".new")
    shutil.rmtree(building, ignore_errors=True)
    if not _TAR.exists():
        old = '--aptopt=Acquire::Check-Valid-Until "false"'
        form = "--format=tar"  # it goes by the name otherwise
        run("mmdebstrap", "--variant=minbase", form, old, f"--include={PACKAGES}", "sid", f"{_TAR}.new", seconds=600)
        Path(f"{_TAR}.new").replace(_TAR)
    building.mkdir()
    run("tar", "-C", building, "-xf", _TAR)
    ssh = building / "root" / ".ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    (ssh / "authorized_keys").write_text(public)
    run("chroot", building, "sh", "-ec", SETUP)
    spec = CACHE / "rig-base.spec"
    spec.write_text(BASE.format(python=_python(building)))
    run("rpmbuild", "-bb", "--quiet", "--define", f"_topdir {CACHE}/base", spec)
    package = CACHE / "base" / "RPMS" / "noarch" / "rig-base-1-1.noarch.rpm"
    shutil.copy(package, building / "root" / package.name)
    run("chroot", building, "rpm", "-i", "--nodeps", "--noplugins", f"/root/{package.name}")
    building.rename(path)


def _python(path: Path) -> str:
    """Its Python's version, by the interpreter that it has."""
    found = sorted((path / "usr" / "bin").glob("python3.[0-9]*"))
    names = [one.name.removeprefix("python") for one in found if one.name.removeprefix("python3.").isdigit()]
    assert names, f"no Python in {path}"
    return names[-1]
