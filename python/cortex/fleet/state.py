"""The fleet as one value: hosts, devices, models, load jobs, failures, sizes. Frozen; `transitions` makes new ones.

Dictionaries inside are never changed in place. Times are Unix seconds, since hosts report theirs so; what a
clock that is set may spoil is over after a minute.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

import msgspec

from cortex.protocol import ModelEntry, ModelLoad
from cortex.types import ModelState

__all__ = [
    "MIB",
    "ON_THE_WAY",
    "REST_LIMIT",
    "Device",
    "Duty",
    "Failure",
    "Fault",
    "Fleet",
    "Host",
    "Job",
    "Reach",
    "located_in",
]

MIB = 1024 * 1024
REST_LIMIT = 60.0  # seconds that anything is held against a host at most
ON_THE_WAY = frozenset({ModelState.FETCHING, ModelState.LOADING})


class Reach(StrEnum):
    """Whether a host answers; `unknown` until the first contact succeeded or failed."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


class Duty(StrEnum):
    """What a host is let do: everything, serve what it has loaded, or nothing new; the last also while its process
    begins anew, which is waited for."""

    ACTIVE = "active"
    CORDONED = "cordoned"
    DRAINED = "drained"
    RESTARTING = "restarting"


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of a model that a host failed in a row; until `until` others are preferred."""

    count: int
    until: float

    def holds(self, now: float) -> bool:
        """Whether it is held against the host now."""
        return _yet_to_come(self.until, now)


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One device; `free_bytes` None = not measured yet, `reserved_bytes` are promised by the host to its own loads."""

    index: int
    name: str = ""
    kind: str = "cpu"
    total_bytes: int = 0
    free_bytes: int | None = None
    reserved_bytes: int = 0
    utilization_pct: int | None = None
    temp_c: int | None = None


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """One neuron, or (`kind` openai) a server that is not ours: it has what it has, nothing is loaded there; `only` are
    the models (patterns) to take from it, `responses` says that it speaks that dialect too. `models` is its own word;
    `leases` and `used` (last use's end) are this gateway's knowledge, `live` the host's last figures and `reported`
    what of them is running or queued now. `downs` are the times at which it went away lately, `held_until` what that
    costs it; `faults` are by model."""

    name: str
    endpoint: str
    kind: Literal["neuron", "openai"] = "neuron"
    only: tuple[str, ...] = ()
    responses: bool = False
    reach: Reach = Reach.UNKNOWN
    misses: int = 0
    status: Literal["ok", "draining", "failing"] = "ok"
    epoch: str | None = None
    revision: int = 0
    version: str = ""
    devices: tuple[Device, ...] = ()
    models: dict[str, ModelEntry] = {}
    live: dict[str, ModelLoad] = {}
    reported: dict[str, int] = {}
    leases: dict[str, int] = {}
    used: dict[str, float] = {}
    duty: Duty = Duty.ACTIVE
    downs: tuple[float, ...] = ()
    held_until: float = 0.0
    faults: dict[str, Fault] = {}

    @property
    def ours(self) -> bool:
        """Whether it is a neuron, which loads models when asked."""
        return self.kind == "neuron"

    def same_peer(self, other: "Host") -> bool:
        """Whether both are the same entry of the configuration."""
        return (self.endpoint, self.kind, self.only, self.responses) == (
            other.endpoint,
            other.kind,
            other.only,
            other.responses,
        )

    @property
    def serving(self) -> bool:
        """Whether new requests may go there."""
        return self.reach is Reach.UP and self.status == "ok" and self.duty in (Duty.ACTIVE, Duty.CORDONED)

    @property
    def loads(self) -> bool:
        """Whether models may be loaded there."""
        return self.serving and self.duty is Duty.ACTIVE and bool(self.devices)

    def trusted(self, model: str, now: float) -> bool:
        """Whether it neither flaps nor fails requests of the model."""
        fault = self.faults.get(model)
        return self.steady(now) and (fault is None or not fault.holds(now))

    def steady(self, now: float) -> bool:
        """Whether it does not flap."""
        return not _yet_to_come(self.held_until, now)

    def places(self, model: str) -> int | None:
        """How many requests of the model may be there at once: what runs, and a few that wait so that no place stays
        empty; None = the host does not say."""
        figures = self.live.get(model)
        if figures is None or figures.max_in_flight <= 0:
            return None
        return figures.max_in_flight + min(figures.max_queue_depth, max(2, figures.max_in_flight // 8))

    def full(self, model: str) -> bool:
        """Whether the next request of the model would have to wait there."""
        places = self.places(model)
        return places is not None and self.busy(model) >= places

    def has(self, model: str, *states: ModelState) -> bool:
        """Whether the model is there in one of these states."""
        entry = self.models.get(model)
        return entry is not None and entry.status in states

    def busy(self, model: str) -> int:
        """Requests of the model there: ours, or what the host reports when others use it too."""
        return max(self.leases.get(model, 0), self.heard(model))

    def heard(self, model: str) -> int:
        """What the host last said is running. Its entry of the model counts only before the first live figures: it is
        sent when the state changes, so the requests in it may have ended long ago."""
        entry = self.models.get(model)
        return self.reported.get(model, entry.in_flight if entry else 0)

    def last_use(self, model: str) -> float:
        """When the model's last use ended, as far as we or the host know; its load counts, never-used is 0."""
        entry = self.models.get(model)
        told = (entry.last_used or 0.0, entry.loaded_at or 0.0) if entry else (0.0,)
        return max(self.used.get(model, 0.0), *told)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A load this gateway has under way: `share_bytes` are spoken for on each of `devices`."""

    model: str
    host: str
    since: float
    devices: tuple[int, ...] = ()
    share_bytes: int = 0
    evict: tuple[str, ...] = ()


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A load that failed on a host; until `until` it is not tried there again. `code` names the error's class."""

    code: str
    message: str
    count: int
    until: float

    def holds(self, now: float) -> bool:
        """Whether the host rests for the model now."""
        return _yet_to_come(self.until, now)


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a decision looks at. `failures` has keys (host, model); `sizes` are the bytes that a model takes
    at least, as a host said; `located` names the hosts that know a model, in whatever state (whoever makes a new value
    keeps it so: `located_in`); `pins` are (model, host) that an operator pinned."""

    hosts: dict[str, Host] = {}
    jobs: dict[str, Job] = {}
    failures: dict[tuple[str, str], Failure] = {}
    sizes: dict[str, int] = {}
    located: dict[str, tuple[str, ...]] = {}
    pins: frozenset[tuple[str, str]] = frozenset()

    def having(self, model: str) -> list[Host]:
        """The hosts that know the model, by name."""
        return [self.hosts[name] for name in self.located.get(model, ())]

    def models(self) -> set[str]:
        """Names of all models that some host knows, in whatever state."""
        return set(self.located)


def _yet_to_come(until: float, now: float) -> bool:
    """Where more is left than anything lasts, the clock was set back meanwhile, and it is over."""
    return now < until <= now + REST_LIMIT


def located_in(hosts: Mapping[str, Host]) -> dict[str, tuple[str, ...]]:
    """`located` for these hosts."""
    found: dict[str, list[str]] = {}
    for name in sorted(hosts):
        for model in hosts[name].models:
            found.setdefault(model, []).append(name)
    return {model: tuple(names) for model, names in found.items()}
