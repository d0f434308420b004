"""From facts to actions, purely: absent is installed, stale is upgraded, current is left alone.

A neuron is taken out of service before its package changes and started once it has its configuration; a gateway
restarts behind its socket. Nothing restarts for whom nothing changed.
"""

import hashlib
from collections.abc import Mapping

import msgspec

from cortex.ops.deploy.facts import Facts
from cortex.ops.deploy.inventory import Host, Inventory, role_of
from cortex.ops.deploy.versions import Build

__all__ = ["UNITS", "Change", "File", "Plan", "make_plan", "package_trouble", "stale_repositories", "wanted_files"]

UNITS = {"neuron": "neuron.service", "gateway": "cortex.service"}
_GROUPS = {"neuron": "neuron", "gateway": "cortex"}


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it shall lie on a host; `access` is `mode:owner:group`."""

    content: bytes
    access: str

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A package to install: from which build (None = absent) to which (None = whatever is newest)."""

    package: str
    before: Build | None
    after: Build | None

    def __str__(self) -> str:
        if self.before is None:
            return f"install {self.package} {self.after or 'newest'}"
        verb = "upgrade" if self.after is None or self.after.newer_than(self.before) else "downgrade"
        return f"{verb} {self.package} {self.before} -> {self.after or 'newest'}"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done on one host, in this order."""

    repositories: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    extras: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    enable: tuple[str, ...] = ()
    start: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, field) for field in self.__struct_fields__)

    def lines(self) -> list[str]:
        """For people."""
        said = [f"add repository {name}" for name in self.repositories]
        said += [str(change) for change in self.changes]
        said += [f"install {name}" for name in self.extras]
        said += [f"place {path}" for path in self.files]
        said += [f"enable {unit}" for unit in self.enable]
        return said + [f"restart {unit}" for unit in self.restart] + [f"start {unit}" for unit in self.start]


def stale_repositories(host: Host, inventory: Inventory, facts: Facts) -> tuple[str, ...]:
    """Those whose file is absent or says something else."""
    wanted = {name: inventory.repositories[name].text(name) for name in host.repositories}
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in wanted.items()}
    return tuple(name for name, digest in digests.items() if facts.repositories.get(name) != digest)


def wanted_files(host: Host, contents: Mapping[str, bytes]) -> dict[str, File]:
    """What shall lie on the host by path; `contents` has the bytes of every source by its name."""
    wanted = {path: File(content=contents[source], access="644:root:root") for path, source in host.files.items()}
    for path, source in host.secrets.items():
        group = _GROUPS[role_of(path) or "neuron"]
        wanted[path] = File(content=contents[source], access=f"640:root:{group}")
    return wanted


def package_trouble(host: Host, facts: Facts, *, repositories_known: bool) -> str | None:
    """Why this host cannot be brought to what the inventory wants, as far as facts tell; None = nothing is known."""
    if not facts.dnf:
        return "has no dnf; deployment knows RPM systems only"
    if host.flavour == "cuda" and facts.gpu == "broken":
        return "its GPU driver does not answer (nvidia-smi): after a driver update, reboot the host first"
    for package in host.ours.values():
        if host.version is None and repositories_known and package not in facts.newest:
            return f"no repository offers {package}; does [repositories] have it, and is the host told to use it?"
    return None


def make_plan(host: Host, facts: Facts, files: Mapping[str, File], repositories: tuple[str, ...] = ()) -> Plan:
    """The actions that are missing; empty where everything is as it shall be."""
    changes = tuple(change for package in host.ours.values() if (change := _change(host, facts, package)))
    changed = {change.package for change in changes}
    places = tuple(path for path, file in files.items() if not _lies(facts, path, file))
    stop, restart, enable, start = [], [], [], []
    for role, package in host.ours.items():
        unit = UNITS[role]
        state = facts.units.get(unit)
        touched = package in changed or any(role_of(path) == role for path in places)
        if state is None or not state.enabled:
            enable.append(unit)
        if state is None or not state.active:
            start.append(unit)
        elif touched:
            restart.append(unit)
            stop += [unit] if role == "neuron" and package in changed else []
    return Plan(
        repositories=repositories,
        changes=changes,
        extras=tuple(name for name in host.packages if name not in facts.installed),
        files=places,
        stop=tuple(stop),
        restart=tuple(restart),
        enable=tuple(enable),
        start=tuple(start),
    )


def _change(host: Host, facts: Facts, package: str) -> Change | None:
    """1. a version is asked for: that one; 2. absent: the newest; 3. stale: the newest; 4. current: nothing. A build
    that is newer than what the repositories offer stays."""
    before, newest = facts.installed.get(package), facts.newest.get(package)
    if host.version is not None:  # 1.
        pinned = Build.of(host.version)
        same = before is not None and before[1:] == pinned[1:]
        return None if same else Change(package=package, before=before, after=pinned)
    if before is None:  # 2.
        return Change(package=package, before=None, after=newest)
    if newest is not None and newest.newer_than(before):  # 3.
        return Change(package=package, before=before, after=newest)
    return None  # 4.


def _lies(facts: Facts, path: str, file: File) -> bool:
    there = facts.files.get(path)
    return there is not None and there.digest == file.digest and there.access == file.access
