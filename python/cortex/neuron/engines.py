"""Engines: what the neuron asks of an engine, so that tests can put another in its place."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Protocol

import msgspec

from cortex.engine import Embedded, EngineSampling, EngineTimings
from cortex.errors import EngineFailed
from cortex.neuron.progress import Progress
from cortex.neuron.sizing import Header
from cortex.protocol import LoadRequest

__all__ = [
    "Ending",
    "Engine",
    "Engines",
    "Event",
    "Facts",
    "LoadPlan",
    "Prompt",
    "Resolver",
    "Stats",
    "prove",
]

_PROOF_SECONDS = 300.0


class LoadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to load, and how much of the machine to give it; None = the engine's own choice. `quant` quantises a folder
    of safetensors while it is loaded."""

    path: Path
    device: int
    kv_bytes: int
    max_sequences: int
    context_length: int | None = None
    threads: int | None = None
    step_tokens: int | None = None
    quant: str | None = None


class Prompt(Protocol):
    """Token ids."""

    def __len__(self) -> int: ...

    def tokens(self) -> list[int]: ...


class Ending(Protocol):
    """How a sequence ended; `reason` is stop, length, tool_calls, cancelled or error."""

    @property
    def reason(self) -> str: ...
    @property
    def stop_string(self) -> str | None: ...
    @property
    def error(self) -> str | None: ...
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def completion_tokens(self) -> int: ...
    @property
    def reasoning_tokens(self) -> int: ...
    @property
    def cached_tokens(self) -> int: ...
    @property
    def queue_seconds(self) -> float: ...
    @property
    def decode_seconds(self) -> float: ...


class Event(Protocol):
    """What one step made for one sequence."""

    @property
    def text(self) -> str: ...
    @property
    def pieces(self) -> Sequence[tuple[str, int | None, str]]: ...
    @property
    def tokens(self) -> int: ...
    @property
    def logprobs(self) -> str | None: ...
    @property
    def prompt_logprobs(self) -> str | None: ...
    @property
    def ending(self) -> Ending | None: ...


class _Defaults(Protocol):
    """The publisher's sampling."""

    @property
    def temperature(self) -> float | None: ...
    @property
    def top_k(self) -> int | None: ...
    @property
    def top_p(self) -> float | None: ...
    @property
    def min_p(self) -> float | None: ...
    @property
    def repetition_penalty(self) -> float | None: ...


class Facts(Protocol):
    """What was loaded."""

    @property
    def architecture(self) -> str: ...
    @property
    def quantisation(self) -> str: ...
    @property
    def kind(self) -> str:
        """generate or embed."""
        ...

    @property
    def dimensions(self) -> int | None: ...
    @property
    def context_length(self) -> int: ...
    @property
    def weights_bytes(self) -> int: ...
    @property
    def kv_bytes(self) -> int: ...
    @property
    def has_chat_template(self) -> bool: ...
    @property
    def tool_format(self) -> str | None: ...
    @property
    def thinks(self) -> bool: ...
    @property
    def defaults(self) -> _Defaults: ...


class Stats(Protocol):
    """Counters and state of an engine."""

    def counters(self) -> dict[str, float]: ...

    @property
    def blocks_used(self) -> int: ...
    @property
    def blocks_total(self) -> int: ...
    @property
    def prefill_tokens(self) -> int: ...
    @property
    def decode_tokens(self) -> int: ...
    @property
    def last_step_age_seconds(self) -> float: ...
    @property
    def failed(self) -> str | None: ...


class Engine(Protocol):
    """A loaded model; what `cortex.engine.AsyncEngine` promises."""

    @property
    def facts(self) -> Facts: ...

    async def encode_chat(
        self, messages: bytes, *, tools: bytes | None, kwargs: bytes | None, most_tokens: int | None = None
    ) -> Prompt: ...

    async def encode_text(self, text: str, *, add_special: bool = True, most_tokens: int | None = None) -> Prompt: ...

    def prompt(self, tokens: Sequence[int]) -> Prompt: ...

    async def decode(self, tokens: Sequence[int]) -> str: ...

    async def compile(self, kind: str, text: str) -> Any:
        """A grammar that `EngineSampling` takes."""
        ...

    def generate(self, prompt: Any, sampling: EngineSampling) -> AsyncGenerator[Event, None]:
        """Closing it ends the sequence within one step. `prompt` is one that this engine made: of its own class."""
        ...

    async def embed(self, texts: Any, *, dimensions: int | None = None) -> Embedded:
        """The vectors of texts, which are prompts that this engine made; cancelling it ends the request."""
        ...

    def stats(self) -> Stats: ...

    def timings(self) -> EngineTimings:
        """Distributions since the load."""
        ...

    def abandon(self, reason: str) -> None:
        """End every request now, whether or not the engine comes back; `close` returns when it has."""
        ...

    async def close(self) -> None: ...


class Resolver(Protocol):
    """Finds a model's files."""

    async def resolve(self, spec: LoadRequest, progress: Progress) -> Path: ...


class Engines(Protocol):
    """Makes engines."""

    def build(self) -> dict[str, Any]:
        """What the engine was built from and for: candle_version, features, simd, ..."""
        ...

    async def inspect(self, path: Path, *, context_length: int | None, quant: str | None = None) -> Header: ...

    async def load(self, plan: LoadPlan, progress: Progress) -> Engine: ...


async def prove(engine: Engine) -> None:
    """Generate one token, or embed one text; raises EngineFailed where nothing comes, or not in time."""
    prompt = await engine.encode_text("1")
    if engine.facts.kind == "embed":
        await _prove_embedding(engine, prompt)
        return
    sampling = EngineSampling(max_tokens=1, temperature=0.0, ignore_eos=True)
    try:
        async with asyncio.timeout(_PROOF_SECONDS), aclosing(engine.generate(prompt, sampling)) as events:
            endings = [event.ending async for event in events if event.ending is not None]
    except TimeoutError as exc:
        raise EngineFailed(f"The first generation gave nothing in {_PROOF_SECONDS:g} s.") from exc
    if not endings or endings[0].completion_tokens != 1:
        why = endings[0].error or endings[0].reason if endings else "it has no end"
        raise EngineFailed(f"The first generation gave no token: {why}")


async def _prove_embedding(engine: Engine, prompt: Prompt) -> None:
    try:
        async with asyncio.timeout(_PROOF_SECONDS):
            made = await engine.embed([prompt])
    except TimeoutError as exc:
        raise EngineFailed(f"The first embedding was not there in {_PROOF_SECONDS:g} s.") from exc
    if len(made.vectors) != 1:
        raise EngineFailed("The first embedding gave no vector.")
