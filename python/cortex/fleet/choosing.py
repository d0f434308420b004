"""Chooses the best plan among many hosts without making a plan for each: a thousand are looked at in milliseconds.

It is what the least of all plans by rank would be; only who cannot be the least is left out early.
"""

from collections.abc import Sequence

from cortex.config import ModelProfile
from cortex.fleet.eviction import Policy
from cortex.fleet.placement import Plan, Promises, available, plan, plan_rank, promises, share_of
from cortex.fleet.state import MIB, Fleet, Host
from cortex.types import ModelState

__all__ = ["best_free_plan", "best_plan", "free_plan"]


def best_plan(fleet: Fleet, profile: ModelProfile, hosts: Sequence[Host], policy: Policy, *, now: float) -> Plan | None:
    """1. Where memory is free; 2. else where the victims were used longest ago, beginning with the hosts whose idle
    models are oldest, until no further host can do better."""
    free = best_free_plan(fleet, profile, hosts)
    if free is not None:  # 1.
        return free
    promised, share = promises(fleet), share_of(fleet, profile)
    able = sorted(
        (oldest, host.name, host)
        for host in hosts
        if (oldest := _oldest_idle(host, share * profile.min_devices - _free(fleet, host, promised))) is not None
    )
    best: Plan | None = None
    for oldest, _, host in able:  # 2.
        if best is not None and oldest > best.newest_victim:
            break
        made = plan(fleet, profile, host, policy, now=now)
        if made is not None and (best is None or plan_rank(made) < plan_rank(best)):
            best = made
    return best


def best_free_plan(fleet: Fleet, profile: ModelProfile, hosts: Sequence[Host]) -> Plan | None:
    """The best of the places where nobody has to go."""
    promised, share = promises(fleet), share_of(fleet, profile)
    plans = [made for host in hosts if (made := free_plan(fleet, profile, host, promised, share)) is not None]
    return min(plans, key=plan_rank, default=None)


def free_plan(fleet: Fleet, profile: ModelProfile, host: Host, promised: Promises, share: int) -> Plan | None:
    """The best place on this host where nobody has to go, or None: what `plan` gives then."""
    floor = (profile.min_device_vram_mb or 0) * MIB
    rooms = [
        (-room, device.index)
        for device in host.devices
        if device.total_bytes >= floor and (room := available(fleet, host, device, promised)) >= share
    ]
    if len(rooms) < profile.min_devices:
        return None
    best = sorted(rooms)[: profile.min_devices]
    devices = tuple(sorted([index for _, index in best]))
    return Plan(host=host.name, devices=devices, share_bytes=share, slack_bytes=-best[-1][0] - share)


def _free(fleet: Fleet, host: Host, promised: Promises) -> int:
    return sum([max(0, available(fleet, host, device, promised)) for device in host.devices])


def _oldest_idle(host: Host, lacking: int) -> float | None:
    """When the model was used last that was used longest ago, of those that nobody uses: no eviction there has older
    victims. None where all of them together would not make room."""
    oldest, freed = float("inf"), 0
    for name, entry in host.models.items():
        if entry.status is not ModelState.LOADED or host.busy(name):
            continue
        oldest = min(oldest, host.last_use(name))
        freed += entry.bytes or (entry.vram_used_mb or 0) * MIB or lacking  # not measured: it may be enough
    return oldest if freed >= lacking and oldest != float("inf") else None
