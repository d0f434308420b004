"""What gateway and neuron say to each other: discovery, health, models, load, unload, events.

Field names are those of the original's HTTP API; what it lacks is added, never renamed. Memory on the wire is
in MB (10^6 would lie beside NVML's figures, so 1 MB = 2^20 bytes) where the original has it, in bytes elsewhere.
"""

from typing import Literal

import msgspec

from cortex.types import ModelState

__all__ = [
    "DeviceHealth",
    "DeviceInfo",
    "Discovery",
    "Health",
    "LoadProgress",
    "LoadRequest",
    "LoadResult",
    "ModelEntry",
    "ModelLoad",
    "NeuronEvent",
    "UnloadRequest",
    "UnloadResult",
]


class DeviceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One device of a host: a GPU, or the CPU with its (cgroup-aware) RAM."""

    index: int
    name: str
    kind: Literal["cuda", "cpu"] = "cpu"
    vram_total_mb: int = 0
    compute_capability: str | None = None


class Discovery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """`GET /discovery`: what this host is; constant while the daemon runs (`epoch` changes with each start)."""

    hostname: str
    os: str
    kernel: str
    epoch: str
    version: str
    devices: tuple[DeviceInfo, ...]
    harnesses: tuple[str, ...] = ("candle",)
    cuda_version: str | None = None
    driver_version: str | None = None
    cuda_unavailable_reason: str | None = None
    architectures: tuple[str, ...] = ()


class DeviceHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Live memory and load of one device; `reserved_mb` is promised to loads that have not allocated yet."""

    index: int
    vram_used_mb: int
    vram_free_mb: int
    reserved_mb: int = 0
    utilization_pct: int | None = None
    temp_c: int | None = None


class ModelLoad(msgspec.Struct, frozen=True, kw_only=True):
    """Live figures of one loaded model."""

    id: str
    in_flight: int = 0
    queue_depth: int = 0
    max_in_flight: int = 0
    max_queue_depth: int = 0
    kv_blocks_used: int = 0
    kv_blocks_total: int = 0
    tok_s_prefill: float | None = None
    tok_s_decode: float | None = None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /health`: liveness and live figures. `status` is ok, draining or failing (an engine stopped stepping)."""

    status: Literal["ok", "draining", "failing"]
    uptime_secs: float
    epoch: str
    revision: int
    devices: tuple[DeviceHealth, ...]
    models: tuple[ModelLoad, ...] = ()
    activation: dict[str, object] = {}


class LoadProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a load is; `eta_seconds` only once it can be measured."""

    stage: str
    done_bytes: int = 0
    total_bytes: int = 0
    eta_seconds: float | None = None


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One model on a host, in whatever state. `last_used` is Unix seconds of the last use's end; `bytes` is what it
    takes here, `least_bytes` (0 = not said) what it could do with where less is free."""

    id: str
    status: ModelState
    harness: str = "candle"
    quant: str | None = None
    devices: tuple[int, ...] = ()
    vram_used_mb: int | None = None
    bytes: int = 0
    least_bytes: int = 0
    in_flight: int = 0
    last_used: float | None = None
    loaded_at: float | None = None
    progress: LoadProgress | None = None
    error: str | None = None
    error_code: str | None = None
    context_length: int | None = None
    max_input_tokens: int | None = None
    capabilities: tuple[str, ...] = ()
    architecture: str | None = None


class LoadRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /models/load`. `wait` = false answers 202 at once; `evict` names victims of the caller's plan;
    `epoch` and `revision` (both or none) make the host refuse a plan made from an older state (409)."""

    model_id: str
    harness: str = "candle"
    quant: str | None = None
    source: str | None = None
    tensor_parallel: int | None = None
    devices: tuple[int, ...] | None = None
    context_length: int | None = None
    evict: tuple[str, ...] = ()
    epoch: str | None = None
    revision: int | None = None
    wait: bool = True


class LoadResult(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to a load: `loaded` (200) or `loading` / `fetching` (202)."""

    status: ModelState
    model_id: str
    revision: int
    progress: LoadProgress | None = None


class UnloadRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /models/unload`; waits for leases up to `drain_seconds` before it refuses with 409."""

    model_id: str
    drain_seconds: float = 30.0
    epoch: str | None = None
    revision: int | None = None


class UnloadResult(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to an unload."""

    status: Literal["unloaded"]
    model_id: str
    revision: int


class NeuronEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `GET /events` (SSE, `data:` is this as JSON): `snapshot` first (all models), then one `model`
    event a change (its new entry; status absent = gone), `health` on a beat, `draining` before the end."""

    kind: Literal["snapshot", "model", "health", "draining"]
    epoch: str
    revision: int
    models: tuple[ModelEntry, ...] = ()
    health: Health | None = None
