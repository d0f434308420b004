"""Who has to go: candidates in the strategy's order, and the victims that free enough, or nobody.

A candidate is a loaded model that is not pinned there, not in use, not wanted by a load, and past its minimum stay.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Literal

import msgspec

from cortex.config import EvictionConfig
from cortex.fleet.catalogue import Catalogue
from cortex.fleet.state import MIB, Fleet, Host
from cortex.types import ModelState

__all__ = ["Candidate", "Policy", "candidates", "choose_victims", "claims", "frees", "idle_too_long", "policy_of"]

_DEFAULT_PRIORITY = 100


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What decisions go by, beside the state: the catalogue, the eviction rules, and how many must wait for a model
    before it gets another copy (0 = never)."""

    catalogue: Catalogue = Catalogue()
    strategy: Literal["lru", "priority"] = "lru"
    min_residency_seconds: float = 0.0
    replicate_after: int = 0
    idle_ttl_seconds: float = 0.0

    def idle_seconds(self, model: str) -> float:
        """How long the model may stay unused, 0 = for ever: as its profile says, else as is usual; what the catalogue
        does not list stays."""
        profile = self.catalogue.profiles.get(model)
        if profile is None:
            return 0.0
        return self.idle_ttl_seconds if profile.idle_ttl_secs is None else profile.idle_ttl_secs

    def priority(self, model: str) -> int:
        """The model's class for displacement."""
        profile = self.catalogue.profiles.get(model)
        return _DEFAULT_PRIORITY if profile is None else profile.priority

    def pinned(self, model: str, host: str) -> bool:
        """Whether the model may never be evicted there."""
        profile = self.catalogue.profiles.get(model)
        return profile is not None and host in profile.pinned_on


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A model that may go, with the bytes it would free on each device."""

    model: str
    last_use: float
    priority: int
    frees: dict[int, int]


def policy_of(catalogue: Catalogue, eviction: EvictionConfig, *, replicate_after: int = 0) -> Policy:
    """The policy of a configuration."""
    return Policy(
        catalogue=catalogue,
        strategy=eviction.strategy,
        min_residency_seconds=eviction.min_residency_secs,
        replicate_after=replicate_after,
        idle_ttl_seconds=eviction.idle_ttl_secs,
    )


def idle_too_long(fleet: Fleet, policy: Policy, *, now: float) -> list[tuple[str, str]]:
    """Models of the catalogue that nobody used for their time to live, as (host, model); pinned ones stay."""
    claimed = claims(fleet)
    return [
        (host.name, name)
        for host in fleet.hosts.values()
        if host.serving and host.ours
        for name in host.models
        if (ttl := policy.idle_seconds(name)) and host.last_use(name) + ttl <= now
        if not policy.pinned(name, host.name) and (name, host.name) not in fleet.pins
        if _idle(fleet, host, policy, name, now, claimed)
    ]


def claims(fleet: Fleet) -> frozenset[tuple[str, str]]:
    """The victims that our load jobs count on, as (host, model)."""
    return frozenset((job.host, victim) for job in fleet.jobs.values() for victim in job.evict)


def candidates(
    fleet: Fleet,
    host: Host,
    policy: Policy,
    *,
    incoming: str,
    now: float,
    once_idle: bool = False,
    claimed: Set[tuple[str, str]] | None = None,
) -> list[Candidate]:
    """Who may be displaced for `incoming` on the host, the first to go first; `claimed` is `claims(fleet)`, if it is at
    hand.

    Order: `lru` by the end of the last use; `priority` by class, then so. Classes above the incoming one stay.
    `once_idle` also counts those that are only in use, on the way or too young now: it answers whether waiting helps.
    """
    claimed = claims(fleet) if claimed is None else claimed
    by_class = policy.strategy == "priority"
    found = [
        Candidate(
            model=model,
            last_use=host.last_use(model),
            priority=policy.priority(model) if by_class else 0,
            frees=frees(host, model, policy),
        )
        for model in _displaceable(fleet, host, policy, incoming)
        if once_idle or _idle(fleet, host, policy, model, now, claimed)
    ]
    if once_idle:
        found += _arriving(fleet, host, policy, incoming)
    return sorted(found, key=lambda one: (one.priority if by_class else 0, one.last_use, one.model))


def choose_victims(order: Sequence[Candidate], shortage: Mapping[int, int]) -> tuple[Candidate, ...] | None:
    """The victims that cover the shortage (bytes by device), or None when all together do not.

    1. In order, whoever frees something on a device that still lacks. 2. Backwards, whoever turned out not to be
    needed stays.
    """
    lacking = dict(shortage)
    chosen: list[Candidate] = []
    for candidate in order:  # 1.
        if any(lack > 0 and candidate.frees.get(device) for device, lack in lacking.items()):
            chosen.append(candidate)
            lacking = {device: lack - candidate.frees.get(device, 0) for device, lack in lacking.items()}
    if any(lack > 0 for lack in lacking.values()):
        return None
    for candidate in chosen[::-1]:  # 2.
        without = {device: lack + candidate.frees.get(device, 0) for device, lack in lacking.items()}
        if all(lack <= 0 for lack in without.values()):
            chosen.remove(candidate)
            lacking = without
    return tuple(chosen)


def frees(host: Host, model: str, policy: Policy) -> dict[int, int]:
    """Bytes by device, in equal shares; what the host did not measure is taken from the profile."""
    entry = host.models[model]
    profile = policy.catalogue.profiles.get(model)
    guess = (profile.vram_mb or 0) * MIB if profile else 0
    total = entry.bytes or (entry.vram_used_mb or 0) * MIB or guess
    devices = entry.devices or tuple(device.index for device in host.devices[:1])
    return {device: total // len(devices) for device in devices} if devices else {}


def _displaceable(fleet: Fleet, host: Host, policy: Policy, incoming: str) -> Iterator[str]:
    """Models that hold memory there and are not exempt by what they are."""
    for model, entry in host.models.items():
        holds = entry.status in (ModelState.LOADED, ModelState.LOADING, ModelState.FETCHING)
        if holds and _may_displace(fleet, host, policy, incoming, model):
            yield model


def _may_displace(fleet: Fleet, host: Host, policy: Policy, incoming: str, model: str) -> bool:
    if model == incoming or policy.pinned(model, host.name) or (model, host.name) in fleet.pins:
        return False
    return policy.strategy == "lru" or policy.priority(model) <= policy.priority(incoming)


def _idle(fleet: Fleet, host: Host, policy: Policy, model: str, now: float, claimed: Set[tuple[str, str]]) -> bool:
    """Whether the model could go this moment: nobody uses it, no load wants it or counts on its going already."""
    entry = host.models[model]
    if entry.status is not ModelState.LOADED or host.busy(model) or model in fleet.jobs:
        return False
    if (host.name, model) in claimed:
        return False
    # a load in the future is one by another clock, or from before ours was set: it protects for no longer than one now
    return entry.loaded_at is None or abs(now - entry.loaded_at) >= policy.min_residency_seconds


def _arriving(fleet: Fleet, host: Host, policy: Policy, incoming: str) -> Iterator[Candidate]:
    """Models of running load jobs, which could go again once they were there and idle."""
    for model, job in fleet.jobs.items():
        if job.host == host.name and _may_displace(fleet, host, policy, incoming, model):
            freed = dict.fromkeys(job.devices, job.share_bytes)
            yield Candidate(model=model, last_use=job.since, priority=policy.priority(model), frees=freed)
