"""The inventory in the words of other tools, so that they can reach the same hosts."""

import json
from typing import Any

from cortex.ops.deploy.inventory import Host, Inventory

__all__ = ["ansible", "pyinfra"]

_ROLES = {"gateway": "gateways", "neuron": "neurons"}


def ansible(inventory: Inventory) -> str:
    """A YAML inventory (JSON is YAML): a group for each role, `ansible_*` connection variables and `cortex_*` facts."""
    groups: dict[str, Any] = {group: {"hosts": {}} for group in _ROLES.values()}
    for host in inventory.hosts:
        for role in host.roles:
            groups[_ROLES[role]]["hosts"][host.name] = {}
    hosts = {host.name: _ansible(host) for host in inventory.hosts}
    return json.dumps({"all": {"hosts": hosts, "children": groups}}, indent=2) + "\n"


def _ansible(host: Host) -> dict[str, Any]:
    known = {
        "ansible_host": host.address,
        "ansible_user": host.user,
        "ansible_port": host.ssh_port,
        "ansible_become": host.sudo or None,
    }
    return {name: value for name, value in (known | _facts("cortex_", host)).items() if value is not None}


def pyinfra(inventory: Inventory) -> str:
    """A Python inventory: a list for each role, with pyinfra's ssh data."""
    lines = ['"""Hosts of a cortex fleet."""', ""]
    for role, group in _ROLES.items():
        lines.append(f"{group} = [")
        lines += [
            f"    {(host.address or host.name, _pyinfra(host))!r}," for host in inventory.hosts if role in host.roles
        ]
        lines += ["]", ""]
    return "\n".join(lines)


def _pyinfra(host: Host) -> dict[str, Any]:
    known = {"ssh_user": host.user, "ssh_port": host.ssh_port, "_sudo": host.sudo or None}
    return {name: value for name, value in (known | _facts("cortex_", host)).items() if value is not None}


def _facts(prefix: str, host: Host) -> dict[str, Any]:
    return {
        f"{prefix}name": host.name,
        f"{prefix}packages": [*host.ours.values(), *host.packages],
        f"{prefix}version": host.version,
        f"{prefix}repositories": list(host.repositories) or None,
    }
