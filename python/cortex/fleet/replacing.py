"""Replacing parts of frozen values: what every module that makes a new state needs."""

from collections.abc import Mapping, Set
from typing import TypeVar

from msgspec.structs import replace

from cortex.fleet.state import Fleet, Host

__all__ = ["dropped", "put", "with_host"]

K = TypeVar("K")
V = TypeVar("V")


def put(old: Mapping[K, V], key: K, value: V) -> dict[K, V]:
    """The mapping with one entry more, or another value for it."""
    return {**old, key: value}


def dropped(old: Mapping[K, V], key: K) -> dict[K, V]:
    """The mapping without the key."""
    return {name: value for name, value in old.items() if name != key}


def with_host(fleet: Fleet, host: Host) -> Fleet:
    """The fleet with this value for the host of its name, which it has."""
    before = fleet.hosts[host.name].models.keys()
    hosts = put(fleet.hosts, host.name, host)
    if before == host.models.keys():
        return replace(fleet, hosts=hosts)
    return replace(fleet, hosts=hosts, located=_relocated(fleet.located, host, before))


def _relocated(old: Mapping[str, tuple[str, ...]], host: Host, before: Set[str]) -> dict[str, tuple[str, ...]]:
    """Where models are, after the host's changed."""
    located = dict(old)
    for model in host.models.keys() ^ before:
        names = set(located.pop(model, ())) ^ {host.name}
        if names:
            located[model] = tuple(sorted(names))
    return located
