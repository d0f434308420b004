"""Explains placement: for a model and each host, where it is, fits, would fit, or why it never will."""

import math
from enum import StrEnum

import msgspec

from cortex.config import ModelProfile
from cortex.fleet.catalogue import Model
from cortex.fleet.eviction import Policy
from cortex.fleet.placement import available, eligible_devices, needed_bytes, plan
from cortex.fleet.state import MIB, Duty, Fleet, Host, Reach
from cortex.types import ModelState

__all__ = ["Fit", "Verdict", "explain"]


class Verdict(StrEnum):
    """What a host is to a model; the first five can serve it."""

    LOADED = "loaded"
    FITS = "fits"
    AFTER_EVICTION = "fits after eviction"
    ONCE_IDLE = "fits once others are idle"
    FULL = "full"
    AWAY = "away"
    PINNED_ELSEWHERE = "pinned elsewhere"
    FEW_DEVICES = "too few devices"
    SMALL_DEVICES = "devices too small"
    NEVER = "too small"
    NO_LOADS = "loads nothing"

    @property
    def possible(self) -> bool:
        """Whether the model can run there, now or once there is room."""
        return self in (self.LOADED, self.FITS, self.AFTER_EVICTION, self.ONCE_IDLE, self.FULL)


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """`needed` bytes on each of `devices` devices (None = nobody knows), of which the best has `free` of `total`.
    `evict` are the models that would go."""

    host: str
    verdict: Verdict
    needed: int | None = None
    devices: int = 1
    free: int | None = None
    total: int | None = None
    evict: tuple[str, ...] = ()
    detail: str = ""


def explain(fleet: Fleet, model: Model, policy: Policy, *, now: float) -> list[Fit]:
    """One Fit a host, in the fleet's order."""
    return [_fit(fleet, model, host, policy, now) for host in fleet.hosts.values()]


def _fit(fleet: Fleet, model: Model, host: Host, policy: Policy, now: float) -> Fit:
    """1. A host that is away says nothing. 2. It is there. 3. It never will be; a server that is not ours loads none.
    4. An operator lets nothing be loaded there now. 5. By memory."""
    profile = model.profile
    best = _best(fleet, profile, host)
    needed = needed_bytes(fleet, profile)
    told = Fit(
        host=host.name,
        verdict=Verdict.AWAY,
        needed=None if needed is None else math.ceil(needed / profile.min_devices),
        devices=profile.min_devices,
        free=None if best is None else best[0],
        total=None if best is None else best[1],
    )
    if not host.serving:  # 1.
        return msgspec.structs.replace(told, detail=_absence(host))
    if host.has(model.id, ModelState.LOADED):  # 2.
        return msgspec.structs.replace(told, verdict=Verdict.LOADED)
    if not host.ours:  # 3.
        return msgspec.structs.replace(told, verdict=Verdict.NO_LOADS)
    hindrance = _hindrance(told, profile, host)
    if hindrance is not None:
        return hindrance
    if host.duty is not Duty.ACTIVE:  # 4.
        return msgspec.structs.replace(told, detail=host.duty.value)
    return _by_memory(told, fleet, model, host, policy, now)  # 5.


def _absence(host: Host) -> str:
    if host.reach is not Reach.UP:
        return host.reach.value
    return host.status if host.status != "ok" else host.duty.value


def _hindrance(told: Fit, profile: ModelProfile, host: Host) -> Fit | None:
    make = msgspec.structs.replace
    if profile.pinned_on and host.name not in profile.pinned_on:
        return make(told, verdict=Verdict.PINNED_ELSEWHERE, detail=", ".join(profile.pinned_on))
    if len(host.devices) < profile.min_devices:
        return make(told, verdict=Verdict.FEW_DEVICES, detail=f"{len(host.devices)}")
    eligible = eligible_devices(profile, host)
    if len(eligible) < profile.min_devices:
        return make(told, verdict=Verdict.SMALL_DEVICES, needed=(profile.min_device_vram_mb or 0) * MIB)
    large = [device for device in eligible if device.total_bytes >= (told.needed or 0)]
    return make(told, verdict=Verdict.NEVER) if len(large) < profile.min_devices else None


def _by_memory(told: Fit, fleet: Fleet, model: Model, host: Host, policy: Policy, now: float) -> Fit:
    made = plan(fleet, model.profile, host, policy, now=now)
    if made is not None:
        verdict = Verdict.AFTER_EVICTION if made.evict else Verdict.FITS
        return msgspec.structs.replace(told, verdict=verdict, evict=made.evict)
    later = plan(fleet, model.profile, host, policy, now=now, once_idle=True)
    return msgspec.structs.replace(told, verdict=Verdict.FULL if later is None else Verdict.ONCE_IDLE)


def _best(fleet: Fleet, profile: ModelProfile, host: Host) -> tuple[int, int] | None:
    """Free and total bytes of the device that decides: the last of as many as the model needs, the roomiest first."""
    ranked = sorted(((available(fleet, host, device), device.total_bytes) for device in host.devices), reverse=True)
    return ranked[min(profile.min_devices, len(ranked)) - 1] if ranked else None
