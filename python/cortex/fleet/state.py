"""The fleet as one value: hosts, devices, models, load jobs, failures, sizes. Frozen; `transitions` makes new ones.

Dictionaries inside are never changed in place. Times are Unix seconds, since hosts report theirs so.
"""

from enum import StrEnum
from typing import Literal

import msgspec

from cortex.protocol import ModelEntry
from cortex.types import ModelState

__all__ = ["MIB", "ON_THE_WAY", "Device", "Failure", "Fleet", "Host", "Job", "Reach"]

MIB = 1024 * 1024
ON_THE_WAY = frozenset({ModelState.FETCHING, ModelState.LOADING})


class Reach(StrEnum):
    """Whether a host answers; `unknown` until the first contact succeeded or failed."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


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
    """One neuron. `models` is its own word; `leases` and `used` (last use's end) are this gateway's knowledge,
    `reported` what the host says is running or queued per model."""

    name: str
    endpoint: str
    reach: Reach = Reach.UNKNOWN
    misses: int = 0
    status: Literal["ok", "draining", "failing"] = "ok"
    epoch: str | None = None
    revision: int = 0
    version: str = ""
    devices: tuple[Device, ...] = ()
    models: dict[str, ModelEntry] = {}
    reported: dict[str, int] = {}
    leases: dict[str, int] = {}
    used: dict[str, float] = {}

    @property
    def serving(self) -> bool:
        """Whether new requests may go there."""
        return self.reach is Reach.UP and self.status == "ok"

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


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a decision looks at. `failures` has keys (host, model); `sizes` are the bytes that a model takes
    at least, as a host said."""

    hosts: dict[str, Host] = {}
    jobs: dict[str, Job] = {}
    failures: dict[tuple[str, str], Failure] = {}
    sizes: dict[str, int] = {}

    def models(self) -> set[str]:
        """Names of all models that some host knows, in whatever state."""
        return {name for host in self.hosts.values() for name in host.models}
