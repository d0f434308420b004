"""A scripted engine at the seam below the neuron: prompts are bytes, answers are scripts, time stands at gates."""

import asyncio
import struct
from collections.abc import AsyncGenerator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from cortex.engine import Distribution, Embedded, EngineSampling, EngineTimings
from cortex.errors import (
    ContextLengthExceeded,
    CortexError,
    EngineFailed,
    InvalidField,
    ModelFileInvalid,
    TemplateFailed,
)
from cortex.neuron.devices import MIB, DeviceFacts, Reading
from cortex.neuron.engines import LoadPlan
from cortex.neuron.progress import Progress
from cortex.neuron.sizing import Header
from cortex.protocol import DeviceInfo

PIECES = ("The capital", " of France", " is Paris.")


@dataclass(frozen=True)
class Defaults:
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None


@dataclass(frozen=True)
class Facts:
    context_length: int = 4096
    architecture: str = "llama"
    quantisation: str = "Q4_1"
    kind: str = "generate"
    dimensions: int | None = None
    has_chat_template: bool = True
    tool_format: str | None = None
    thinks: bool = False
    weights_bytes: int = 0
    kv_bytes: int = 0
    defaults: Defaults = Defaults()


@dataclass
class Stats:
    blocks_used: int = 0
    blocks_total: int = 64
    prefill_tokens: int = 0
    decode_tokens: int = 0
    last_step_age_seconds: float = 0.0
    failed: str | None = None

    running: int = 0
    waiting: int = 0
    blocks_cached: int = 0
    steps: int = 0
    finished: int = 0
    cancelled: int = 0
    preemptions: int = 0
    prefix_queries: int = 0
    prefix_hits: int = 0

    def counters(self) -> dict[str, float]:
        return {name: value for name, value in asdict(self).items() if isinstance(value, int | float)}


NOTHING = Distribution(bounds=(0.1, 1.0), counts=(0, 0, 0), sum=0.0)
NO_TIMINGS = EngineTimings(**dict.fromkeys(EngineTimings.__struct_fields__, NOTHING))


@dataclass(frozen=True)
class Ending:
    reason: str
    stop_string: str | None = None
    error: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    queue_seconds: float = 0.0
    prefill_seconds: float = 0.01
    decode_seconds: float = 0.02


@dataclass(frozen=True)
class Event:
    text: str = ""
    tokens: int = 1
    pieces: tuple[tuple[str, int | None, str], ...] = ()
    logprobs: str | None = None
    prompt_logprobs: str | None = None
    ending: Ending | None = None


class Prompt:
    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = list(tokens)

    def __len__(self) -> int:
        return len(self._tokens)

    def tokens(self) -> list[int]:
        return list(self._tokens)


@dataclass
class Script:
    """How a model answers: `pieces` up to the first stop string, a pause at `gate_at`, an error ending at `fail_at`.

    Or `parts`, where the answer is one to be taken apart: those of each token.
    """

    pieces: tuple[str, ...] = PIECES
    parts: tuple[tuple[tuple[str, int | None, str], ...], ...] = ()
    thought_tokens: int = 0
    gate_at: int | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    fail_at: int | None = None
    refuse: CortexError | None = None
    refuse_grammar: str | None = None
    refuse_once: bool = False


def _refuse_far_too_long(text: str, most_tokens: int | None) -> None:
    """As if a token stood for four bytes at most."""
    fewest = len(text) // 4
    if most_tokens is not None and fewest > most_tokens:
        raise ContextLengthExceeded(f"at least {fewest} tokens", extras={"prompt_tokens": fewest, "limit": most_tokens})


@dataclass(frozen=True)
class Template:
    """What a chat template honours; `switches` are the arguments that make a difference."""

    shows_tools: bool = True
    takes_system: bool = True
    switches: tuple[str, ...] = ()


class FakeEngine:
    """One loaded model. `asked` are the samplings it was given, `running` its sequences, `cancelled` how many were."""

    def __init__(self, facts: Facts, script: Script, template: Template) -> None:
        self.facts = facts
        self.script = script
        self.shows_tools = template.shows_tools
        self.takes_system = template.takes_system
        self.switches = template.switches
        self.state = Stats()
        self.measured = NO_TIMINGS
        self.asked: list[EngineSampling] = []
        self.compiled: list[tuple[str, str]] = []
        self.embedded: list[list[list[int]]] = []
        self.rendered: list[dict[str, Any]] = []
        self.running = 0
        self.cancelled = 0
        self.closed = False
        self.changed = asyncio.Event()
        self.given_up = asyncio.Event()
        self.comes_back = asyncio.Event()

    async def until(self, condition: Any) -> None:
        """Until something that this engine counts is so."""
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    async def encode_chat(
        self, messages: bytes, *, tools: bytes | None, kwargs: bytes | None, most_tokens: int | None = None
    ) -> Prompt:
        turns = msgspec.json.decode(messages)
        if any(turn["content"] == "unrenderable" for turn in turns):
            raise TemplateFailed("the template refused the conversation")
        options = msgspec.json.decode(kwargs) if kwargs else {}
        if not self.takes_system and turns[0]["role"] == "system":
            raise TemplateFailed("no system text")
        self.rendered.append({"messages": turns, "tools": msgspec.json.decode(tools) if tools else None, **options})
        text = "".join(f"<{turn['role']}>{turn['content']}" for turn in turns)
        text += "".join(str(options[name]) for name in self.switches if name in options)
        _refuse_far_too_long(text, most_tokens)
        return Prompt([*text.encode(), *(tools or b"" if self.shows_tools else b"")])

    async def encode_text(self, text: str, *, add_special: bool = True, most_tokens: int | None = None) -> Prompt:
        _refuse_far_too_long(text, most_tokens)
        return Prompt([*([1] if add_special else []), *text.encode()])

    def prompt(self, tokens: Sequence[int]) -> Prompt:
        return Prompt(tokens)

    async def decode(self, tokens: Sequence[int]) -> str:
        return bytes(tokens).decode()

    async def generate(self, prompt: Any, sampling: EngineSampling) -> AsyncGenerator[Event, None]:
        self.asked.append(sampling)
        script = self.script
        if script.refuse is not None:
            raise script.refuse
        if script.parts and sampling.parsing is not None:
            for event in _told(script, len(prompt)):
                yield event
            return
        self._count(+1)
        finished = False
        try:
            pieces, reason, stop = _cut(script.pieces, sampling)
            for at, piece in enumerate(pieces):
                if at == script.gate_at:
                    await self._at_gate(script)
                if at == script.fail_at:
                    yield Event(tokens=0, ending=Ending("error", error="the step failed"))
                    finished = True
                    return
                self.state.decode_tokens += 1
                yield _event(piece, sampling, prompt if at == 0 else None)
            finished = True
            scored = _event("", sampling, prompt if not pieces else None).prompt_logprobs
            yield Event(
                tokens=0,
                prompt_logprobs=scored,
                ending=Ending(
                    reason,
                    stop_string=stop,
                    prompt_tokens=len(prompt),
                    completion_tokens=len(pieces),
                    cached_tokens=2,
                ),
            )
        finally:
            self.cancelled += not finished
            self._count(-1)

    async def compile(self, kind: str, text: str) -> Any:
        self.compiled.append((kind, text))
        if (reason := self.script.refuse_grammar) is not None:
            if self.script.refuse_once:
                self.script.refuse_grammar = None
            raise InvalidField(f"grammar: {reason}", param="grammar")
        return (kind, text)

    async def embed(self, texts: Sequence[Prompt], *, dimensions: int | None = None) -> Embedded:
        """Each vector begins with the number of tokens and has zeros behind."""
        self.embedded.append([text.tokens() for text in texts])
        if self.script.refuse is not None:
            raise self.script.refuse
        self._count(+1)
        finished = False
        try:
            if self.script.gate_at is not None:
                await self._at_gate(self.script)
            finished = True
        finally:
            self.cancelled += not finished
            self._count(-1)
        width = dimensions or self.facts.dimensions or 0
        vectors = [struct.pack(f"<{width}f", len(text), *[0.0] * (width - 1)) for text in texts]
        return Embedded(
            vectors=tuple(memoryview(vector) for vector in vectors),
            prompt_tokens=sum(len(text) for text in texts),
            queue_seconds=0.0,
        )

    def stats(self) -> Stats:
        return self.state

    def timings(self) -> EngineTimings:
        return self.measured

    async def _at_gate(self, script: Script) -> None:
        waiting = [asyncio.ensure_future(one.wait()) for one in (script.gate, self.given_up)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()
        if self.given_up.is_set():
            raise EngineFailed("given up")

    def abandon(self, reason: str) -> None:
        self.given_up.set()

    async def close(self) -> None:
        if self.given_up.is_set():
            await self.comes_back.wait()
        self.closed = True
        self.changed.set()

    def _count(self, change: int) -> None:
        self.running += change
        self.changed.set()


def _told(script: Script, prompt_tokens: int) -> list[Event]:
    """An answer in parts."""
    called = any(kind == "call" for parts in script.parts for kind, _, _ in parts)
    ending = Ending(
        "tool_calls" if called else "stop",
        prompt_tokens=prompt_tokens,
        completion_tokens=len(script.parts),
        reasoning_tokens=script.thought_tokens,
    )
    return [*(Event(pieces=parts) for parts in script.parts), Event(tokens=0, ending=ending)]


def _event(piece: str, sampling: EngineSampling, prompt: Any) -> Event:
    """A piece with what was asked about it: each piece is one token, each byte of a prompt is one."""
    said = scored = None
    if sampling.logprobs is not None:
        said = _entries([piece], sampling.logprobs)
    if prompt is not None and sampling.prompt_logprobs is not None:
        texts = [bytes([token]).decode("latin-1") for token in prompt.tokens()]
        scored = _entries(texts, sampling.prompt_logprobs, first=None)
    return Event(piece, logprobs=said, prompt_logprobs=scored)


def _entries(texts: list[str], top: int, first: float | None = -0.5) -> str:
    entries = []
    for at, text in enumerate(texts):
        names = ("best", "next")[:top] if at or first is not None else ()
        others = [{"token": name, "logprob": -0.25, "bytes": list(name.encode())} for name in names]
        logprob = -0.5 if at else first
        entries.append({"token": text, "logprob": logprob, "bytes": list(text.encode()), "top_logprobs": others})
    return msgspec.json.encode(entries).decode()


def _cut(pieces: tuple[str, ...], sampling: EngineSampling) -> tuple[tuple[str, ...], str, str | None]:
    """The pieces that come out, why they end, and the stop string that ended them."""
    for at, piece in enumerate(pieces):
        for stop in sampling.stop:
            if stop in piece:
                return (*pieces[:at], piece[: piece.index(stop)]), "stop", stop
    if len(pieces) > sampling.max_tokens:
        return pieces[: sampling.max_tokens], "length", None
    return pieces, "stop", None


class FakeEngines:
    """Loads a file as the model whose stem it has. `sizes` are MB of weights; `loaded` the engines by stem."""

    def __init__(self, *, sizes: dict[str, int] | None = None, facts: Facts | None = None) -> None:
        self.sizes = sizes or {}
        self.facts = facts or Facts()
        self.scripts: dict[str, Script] = {}
        self.load_gate = asyncio.Event()
        self.load_gate.set()
        self.loading = asyncio.Event()
        self.load_error: CortexError | None = None
        self.plans: list[LoadPlan] = []
        self.loaded: dict[str, FakeEngine] = {}
        self.template = Template()
        self.cancelled = 0

    def script(self, model: str) -> Script:
        return self.scripts.setdefault(model, Script())

    def build(self) -> dict[str, Any]:
        return {
            "package_version": "0.1",
            "candle_version": "0",
            "features": [],
            "simd": "none",
            "architectures": ["llama"],
        }

    async def inspect(self, path: Path, *, context_length: int | None, quant: str | None = None) -> Header:
        if path.name.startswith("broken"):
            raise ModelFileInvalid(f"{path.name} is cut short")
        return Header(
            architecture="llama",
            context_length=context_length or self.facts.context_length,
            weights_bytes=self.sizes.get(path.stem, 40) * MIB,
            kv_bytes_per_token=1024,
            work_bytes=0,
        )

    async def load(self, plan: LoadPlan, progress: Progress) -> FakeEngine:
        self.plans.append(plan)
        progress.set("weights", 25, 100)
        self.loading.set()
        try:
            await self.load_gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.load_error is not None:
            raise self.load_error
        stem = plan.path.stem
        weights = self.sizes.get(stem, 40) * MIB
        facts = replace(self.facts, weights_bytes=weights, kv_bytes=plan.kv_bytes)
        engine = FakeEngine(facts, self.script(stem), self.template)
        self.loaded[stem] = engine
        return engine


class FakeDevices:
    """Devices of so many MB each, of which the models' share cannot be measured."""

    def __init__(self, *megabytes: int) -> None:
        self.free = [size * MIB for size in megabytes]
        self.total = list(self.free)
        self.resident: int | None = 0
        infos = [DeviceInfo(index=index, name=f"fake {index}") for index in range(len(megabytes))]
        self.facts = DeviceFacts(devices=tuple(infos))

    def measure(self) -> tuple[Reading, ...]:
        return tuple(
            Reading(index=index, total_bytes=total, free_bytes=free, resident_bytes=self.resident)
            for index, (total, free) in enumerate(zip(self.total, self.free, strict=True))
        )
