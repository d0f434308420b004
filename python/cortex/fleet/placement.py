"""Where a model fits: per device, live free memory less what is promised, first without and then with eviction."""

import math
from collections.abc import Iterator, Mapping, Set

import msgspec

from cortex.config import ModelProfile
from cortex.fleet.eviction import Candidate, Policy, candidates, choose_victims
from cortex.fleet.state import MIB, Device, Fleet, Host

__all__ = [
    "Plan",
    "Promises",
    "available",
    "eligible_devices",
    "feasible",
    "needed_bytes",
    "plan",
    "plan_rank",
    "promises",
    "share_of",
]

Promises = Mapping[tuple[str, int], int]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A place for a model: `share_bytes` on each of `devices` (0 = nobody knows yet), after `evict` left."""

    host: str
    devices: tuple[int, ...]
    share_bytes: int
    evict: tuple[str, ...] = ()
    newest_victim: float = 0.0
    slack_bytes: int = 0


def needed_bytes(fleet: Fleet, profile: ModelProfile) -> int | None:
    """What the model takes in all, at least: as a host said, else as the profile says, else unknown."""
    measured = fleet.sizes.get(profile.id)
    if measured is not None:
        return measured
    return None if profile.vram_mb is None else profile.vram_mb * MIB


def eligible_devices(profile: ModelProfile, host: Host) -> list[Device]:
    """The devices of the host that are large enough in all for a share of the model."""
    floor = (profile.min_device_vram_mb or 0) * MIB
    return [device for device in host.devices if device.total_bytes >= floor]


def feasible(fleet: Fleet, profile: ModelProfile, host: Host, *, share: int | None = None) -> bool:
    """Whether the host could ever hold the model: 1. pinned hosts only, 2. enough devices, each large enough and with
    room for its share (`share_of`, if it is at hand) when empty."""
    if profile.pinned_on and host.name not in profile.pinned_on:  # 1.
        return False
    least = max(share_of(fleet, profile) if share is None else share, (profile.min_device_vram_mb or 0) * MIB)
    return sum([device.total_bytes >= least for device in host.devices]) >= profile.min_devices  # 2.


def promises(fleet: Fleet) -> Promises:
    """What our load jobs have spoken for, by host and device."""
    found: dict[tuple[str, int], int] = {}
    for job in fleet.jobs.values():
        for device in job.devices:
            found[job.host, device] = found.get((job.host, device), 0) + job.share_bytes
    return found


def available(fleet: Fleet, host: Host, device: Device, promised: Promises | None = None) -> int:
    """Free bytes less promises (`promises(fleet)`, if it is at hand). The host's own reservations and our load jobs
    mean the same loads: the larger counts. Negative while victims of a running load are still there."""
    free = device.total_bytes if device.free_bytes is None else device.free_bytes
    ours = (promises(fleet) if promised is None else promised).get((host.name, device.index), 0)
    return free - max(device.reserved_bytes, ours)


def plan(
    fleet: Fleet,
    profile: ModelProfile,
    host: Host,
    policy: Policy,
    *,
    now: float,
    once_idle: bool = False,
    promised: Promises | None = None,
    claimed: Set[tuple[str, str]] | None = None,
) -> Plan | None:
    """The best place on this host, or None. 1. Free memory is enough. 2. Enough after eviction; among several sets of
    devices the one whose victims were used longest ago. `once_idle`: as if everyone who may be displaced were idle;
    `promised` and `claimed` are what our jobs speak for, if it is at hand."""
    share = share_of(fleet, profile)
    promised = promises(fleet) if promised is None else promised
    free = {device.index: available(fleet, host, device, promised) for device in eligible_devices(profile, host)}
    order = candidates(fleet, host, policy, incoming=profile.id, now=now, once_idle=once_idle, claimed=claimed)
    plans = [
        made
        for devices in _device_sets(profile.min_devices, free, order)
        if (made := _on(host, devices, share, free, order)) is not None
    ]
    return min(plans, key=plan_rank, default=None)


def plan_rank(made: Plan) -> tuple[bool, float, int, int, str, tuple[int, ...]]:
    """The better plan is the smaller: no eviction, older victims, fewer of them, more room left, then by name."""
    return (
        bool(made.evict),
        made.newest_victim,
        len(made.evict),
        -made.slack_bytes,
        made.host,
        made.devices,
    )


def share_of(fleet: Fleet, profile: ModelProfile) -> int:
    """Bytes on each of the devices, 0 = nobody knows."""
    return math.ceil((needed_bytes(fleet, profile) or 0) / profile.min_devices)


def _device_sets(count: int, free: dict[int, int], order: list[Candidate]) -> Iterator[tuple[int, ...]]:
    """Sets of `count` devices worth a look: each alone; for several, the most free and the most that could be."""
    if len(free) < count:
        return
    if count == 1:
        yield from ((index,) for index in sorted(free))
        return
    could = {index: room + sum(one.frees.get(index, 0) for one in order) for index, room in free.items()}
    for figures in (free, could):
        best = sorted(figures, key=lambda index: (-figures[index], index))
        yield tuple(sorted(best[:count]))


def _on(host: Host, devices: tuple[int, ...], share: int, free: dict[int, int], order: list[Candidate]) -> Plan | None:
    shortage = {index: share - free[index] for index in devices if share > free[index]}
    victims = choose_victims(order, shortage) if shortage else ()
    if victims is None:
        return None
    return Plan(
        host=host.name,
        devices=devices,
        share_bytes=share,
        evict=tuple(victim.model for victim in victims),
        newest_victim=max((victim.last_use for victim in victims), default=0.0),
        slack_bytes=min(free[index] for index in devices) - share,
    )
