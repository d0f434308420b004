"""inventory.toml: hosts with their roles, the repositories they install from, the files they are given."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from cortex.config.loader import load
from cortex.errors import ConfigError

__all__ = ["Host", "Inventory", "Repository", "Role", "Rollout", "load_inventory", "role_of"]

Role = Literal["gateway", "neuron"]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", examples=["beast"])]
# Neither an option of ssh nor a word of a shell.
Address = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:%-]*$", examples=["beast.example.net"])]
Package = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", examples=["helexa-neuron"])]
Version = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._+~^]+-[A-Za-z0-9._+~^]+$", examples=["0.1.0-1.fc43"])]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
_PLACES: dict[str, Role] = {
    "/etc/cortex/": "gateway",
    "/etc/neuron/": "neuron",
    "/etc/systemd/system/cortex.service.d/": "gateway",
    "/etc/systemd/system/neuron.service.d/": "neuron",
}
_PLAIN = re.compile(r"[A-Za-z0-9._-]+")


class Repository(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[repositories.NAME]`, written to /etc/yum.repos.d/NAME.repo. `baseurl` may have dnf's variables."""

    baseurl: Annotated[str, msgspec.Meta(pattern=r"^(https?|file)://\S+$")]
    gpgkey: Annotated[str, msgspec.Meta(pattern=r"^(https?|file)://\S+$")] | None = None
    gpgcheck: bool = True

    def text(self, name: str) -> str:
        """The file's content."""
        lines = [f"[{name}]", f"name={name}", f"baseurl={self.baseurl}", "enabled=1", f"gpgcheck={int(self.gpgcheck)}"]
        if self.gpgkey is not None:
            lines.append(f"gpgkey={self.gpgkey}")
        return "\n".join([*lines, ""])


class Host(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[hosts]]`. `name` is the gateway's name for it, `address` what ssh is told (default: the name).

    `files` and `secrets` map a path on the host to one beside the inventory; secrets get mode 0640 and the service's
    group. `packages` are made sure of by name, because an upgrade never brings what is only recommended.
    """

    name: Name
    roles: Annotated[tuple[Role, ...], msgspec.Meta(min_length=1)]
    address: Address | None = None
    user: Name | None = None
    ssh_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    sudo: bool = False
    flavour: Literal["cpu", "cuda"] = "cpu"
    version: Version | None = None
    repositories: tuple[Name, ...] = ()
    packages: tuple[Package, ...] = ()
    files: dict[str, str] = {}
    secrets: dict[str, str] = {}
    neuron_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 13131
    gateway_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 31313
    canary: bool = False

    @property
    def ours(self) -> dict[Role, str]:
        """The package of each role."""
        neuron = "helexa-neuron" if self.flavour == "cpu" else "helexa-neuron-cuda"
        names: dict[Role, str] = {"neuron": neuron, "gateway": "cortex"}
        return {role: name for role, name in names.items() if role in self.roles}


class Rollout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[rollout]`: hosts at once after the first, how long a drain and a model may take."""

    batch: Annotated[int, msgspec.Meta(ge=1)] = 4
    drain_secs: Seconds = 120.0
    wait_secs: Seconds = 900.0


class Inventory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    hosts: Annotated[tuple[Host, ...], msgspec.Meta(min_length=1)]
    repositories: dict[Name, Repository] = {}
    rollout: Rollout = Rollout()


def role_of(target: str) -> Role | None:
    """Whose file a path on a host is; None for a path that deployment does not write."""
    for folder, role in _PLACES.items():
        if target.startswith(folder) and _PLAIN.fullmatch(target.removeprefix(folder)):
            return role
    return None


def load_inventory(path: Path, environ: Mapping[str, str]) -> Inventory:
    """Read and check it; raises ConfigError with file, line and remedy."""
    inventory = load(Inventory, path, default_path=None, prefix=None, environ=environ, refused={}).config
    seen: set[str] = set()
    for host in inventory.hosts:
        if host.name in seen:
            raise ConfigError(f"{path}: host {host.name!r} is listed twice")
        seen.add(host.name)
        for name in host.repositories:
            if name not in inventory.repositories:
                raise ConfigError(f"{path}: host {host.name!r}: no [repositories.{name}] is written")
        _check_files(host, path)
    return inventory


def _check_files(host: Host, path: Path) -> None:
    for target, source in (host.files | host.secrets).items():
        role = role_of(target)
        if role is None:
            raise ConfigError(f"{path}: host {host.name!r}: {target} is not a place for files: {', '.join(_PLACES)}")
        if role not in host.roles:
            raise ConfigError(f"{path}: host {host.name!r}: {target} is for a {role}, and it is none")
        if not (path.parent / source).is_file():
            raise ConfigError(f"{path}: host {host.name!r}: {path.parent / source} does not exist")
    if both := set(host.files) & set(host.secrets):
        raise ConfigError(f"{path}: host {host.name!r}: {both.pop()} is both in files and in secrets")
