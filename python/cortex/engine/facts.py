"""Facts about the build, about model files and about loaded models."""

import asyncio
from pathlib import Path
from typing import Any, Literal

import msgspec

from cortex import _native

__all__ = [
    "Defaults",
    "Distribution",
    "EngineStats",
    "EngineTimings",
    "Inspection",
    "Machine",
    "ModelFacts",
    "StepWork",
    "build_info",
    "inspect_model",
    "measure_machine",
]


Kind = Literal["generate", "embed"]


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """A model file by its header alone. `kv_bytes` and `state_bytes` are those of all sequences at full context; a
    state is what layers without attention keep of a sequence, however long it is."""

    architecture: str
    quantisation: str
    kind: Kind
    layers: int
    hidden: int
    vocab: int
    context_length: int
    weights_bytes: int
    kv_bytes_per_token: int
    kv_bytes: int
    state_bytes: int
    work_bytes: int
    total_bytes: int
    has_chat_template: bool
    dimensions: int | None = None
    name: str | None = None


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """EngineSampling that the model's publisher recommends; None = nothing said."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None


class StepWork(msgspec.Struct, frozen=True, kw_only=True):
    """A step reads `bytes` of weights and takes at most `tokens`; each of them is multiplied with `layer_weights`
    weights, and with `head_weights` if its next token is wanted."""

    bytes: int
    tokens: int
    layer_weights: int
    head_weights: int


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A loaded model. `context_length` is what model, option and KV memory leave; sizes are bytes. `dimensions` are the
    values of one embedding, None for a model that generates, which alone has a `step`.

    `tool_format` is how the model writes calls, as far as its template tells; `thinks`: it thinks aloud.
    """

    architecture: str
    name: str
    quantisation: str
    kind: Kind
    dimensions: int | None
    context_length: int
    vocab: int
    weights_bytes: int
    kv_bytes: int
    kv_block_tokens: int
    threads: int
    simd: str
    step: StepWork | None
    has_chat_template: bool
    defaults: Defaults
    tool_format: str | None = None
    thinks: bool = False


class EngineStats(msgspec.Struct, frozen=True, kw_only=True):
    """Counters since the load, and the state right now. `last_step_age_seconds` is 0 while there is nothing to do."""

    running: int
    waiting: int
    blocks_used: int
    blocks_cached: int
    blocks_total: int
    steps: int
    prefill_tokens: int
    decode_tokens: int
    finished: int
    cancelled: int
    preemptions: int
    prefix_queries: int
    prefix_hits: int
    last_step_age_seconds: float
    failed: str | None = None

    def counters(self) -> dict[str, float]:
        """Every number by its name."""
        values = msgspec.structs.asdict(self)
        return {name: value for name, value in values.items() if isinstance(value, int | float)}


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """How often a value was at most each of `bounds` and above the one before; the last count is of those above all."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float


class EngineTimings(msgspec.Struct, frozen=True, kw_only=True):
    """Distributions since the load, measured at the engine's steps: times of requests, of tokens and of steps, and how
    many sequences and tokens the steps had. A request that ends before its first token counts where it came to."""

    time_to_first_token_seconds: Distribution
    inter_token_seconds: Distribution
    queue_seconds: Distribution
    prefill_seconds: Distribution
    decode_seconds: Distribution
    step_seconds: Distribution
    step_sequences: Distribution
    step_tokens: Distribution


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What so many threads can do at best: bytes read from memory and 8-bit multiply-adds, a second."""

    threads: int
    simd: str
    bytes_per_second: float
    multiply_adds_per_second: float


def build_info() -> dict[str, Any]:
    """What the engine was built from and for: package_version, candle_version, rustc_version, profile, target,
    features, simd (chosen at run time), architectures."""
    facts: dict[str, Any] = msgspec.json.decode(_native.build_info())
    return facts


async def inspect_model(
    path: Path, *, context_length: int | None = None, max_sequences: int = 1, quant: str | None = None
) -> Inspection:
    """Read a model's header, in a thread.

    Raises SourceNotFound, ModelFileInvalid, UnsupportedModel, InvalidField.
    """
    read = await asyncio.to_thread(
        _native.inspect, str(path), context_length=context_length, max_sequences=max_sequences, quant=quant
    )
    return msgspec.json.decode(read, type=Inspection)


async def measure_machine(threads: int | None = None) -> Machine:
    """Measure the machine, in a thread: half a second. None = the cores that this process may use."""
    return msgspec.json.decode(await asyncio.to_thread(_native.measure_machine, threads), type=Machine)
