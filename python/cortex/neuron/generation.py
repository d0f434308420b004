"""Generation: a request's fields as the engine's, and the engine's events of one sequence as neutral events."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from cortex.dialects.logprobs import parse_logprobs
from cortex.dialects.neutral import ChatEvent, Ended, Failed, Sampling, TextDelta
from cortex.dialects.structured import Structure
from cortex.engine import EngineSampling
from cortex.errors import ContextLengthExceeded, EngineFailed, InvalidField
from cortex.neuron.engines import Ending, Engine, Facts, Prompt
from cortex.neuron.metrics import Meter
from cortex.neuron.telling import Told
from cortex.neuron.tenancy import cache_salt
from cortex.types import FinishReason, Usage

__all__ = ["Limits", "Output", "check_length", "compile_structure", "engine_sampling", "generate"]

# Small and quantised models say nonsense when every token may be drawn; local servers cut the tail about so.
_UNSAID = Sampling(temperature=0.7, top_k=40, top_p=0.95, min_p=0.05)
_SMALLEST_TOP_P = 1e-6  # 0 means the most likely token alone; the engine takes only what is above


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """When an answer ends; `max_tokens` None = what is left of the context."""

    max_tokens: int | None
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer must look like, what is told of its tokens (how many alternatives, None = nothing), and how it is
    taken apart (`EngineSampling.parsing`)."""

    logprobs: int | None = None
    prompt_logprobs: int | None = None
    grammar: Any = None
    parsing: bytes | None = None


def check_length(prompt: Prompt, limit: int) -> None:
    """Raises ContextLengthExceeded for a prompt that leaves no room for an answer."""
    if len(prompt) >= limit:
        raise ContextLengthExceeded(
            f"The prompt has {len(prompt)} tokens; the model takes {limit - 1} and an answer of at least one.",
            extras={"prompt_tokens": len(prompt), "limit": limit - 1},
        )


async def compile_structure(engine: Engine, structure: Structure | None) -> Any:
    """The grammar of a request, ready for the engine; None for none. Raises InvalidField in the client's words."""
    if structure is None:
        return None
    try:
        return await engine.compile(structure.kind, structure.text)
    except InvalidField as exc:
        reason = exc.message.removeprefix("grammar: ")
        raise InvalidField(f"`{structure.field}`: {reason}", param=structure.field) from exc


def engine_sampling(
    engine: Engine, prompt: Prompt, asked: Sampling, *, limits: Limits, output: Output
) -> EngineSampling:
    """The engine's parameters: 1. the request's; 2. what it does not say, the publisher's; 3. of a publisher who says
    nothing at all, ours; 4. neutral ones.

    `max_tokens` is a bound: one beyond the context ends where the context ends. Raises ContextLengthExceeded,
    InvalidField.
    """
    check_length(prompt, engine.facts.context_length)
    own = _recommended(engine.facts)
    left = engine.facts.context_length - len(prompt)
    max_tokens = left if limits.max_tokens is None else min(limits.max_tokens, left)
    top_k = own.top_k if asked.top_k is None else asked.top_k
    return EngineSampling(
        max_tokens=max_tokens,
        temperature=_first(asked.temperature, own.temperature, 1.0),
        top_k=top_k or None,
        top_p=max(_first(asked.top_p, own.top_p, 1.0), _SMALLEST_TOP_P),
        min_p=_first(asked.min_p, own.min_p, 0.0),
        seed=None if asked.seed is None else asked.seed % 2**64,
        frequency_penalty=_first(asked.frequency_penalty, 0.0),
        presence_penalty=_first(asked.presence_penalty, 0.0),
        repetition_penalty=_first(asked.repetition_penalty, own.repetition_penalty, 1.0),
        stop=limits.stop,
        min_tokens=min(limits.min_tokens, max_tokens),
        ignore_eos=limits.ignore_eos,
        stop_token_ids=limits.stop_token_ids,
        logit_bias=_biases(asked),
        logprobs=output.logprobs,
        prompt_logprobs=output.prompt_logprobs,
        grammar=output.grammar,
        parsing=output.parsing,
        cache_salt=cache_salt(),
    )


def _biases(asked: Sampling) -> tuple[tuple[int, float], ...]:
    biases = asked.logit_bias or {}
    wrong = next((token for token in biases if not (token.isascii() and token.isdigit() and len(token) < 10)), None)
    if wrong is not None:
        raise InvalidField(f"`logit_bias`: {wrong!r} is not the id of a token.", param="logit_bias")
    return tuple((int(token), bias) for token, bias in biases.items())


async def generate(
    engine: Engine,
    prompt: Prompt,
    sampling: EngineSampling,
    meter: Meter,
    *,
    choice: int = 0,
    echo: str = "",
    call_prefix: str = "call_",
) -> AsyncGenerator[ChatEvent, None]:
    """One sequence, up to its `Ended` or `Failed`; closing it cancels the sequence in the engine. Metered either way.

    The tokens of a prompt are counted once, with its first `choice`. `echo` is the prompt's text where its log
    probabilities are asked for, `call_prefix` what the ids of tool calls begin with.
    Raises what the engine raises when it refuses the sequence.
    """
    made, ended = 0, False
    told = Told(call_prefix)
    try:
        async with aclosing(engine.generate(prompt, sampling)) as events:
            async for event in events:
                if event.tokens:
                    meter.token()
                    made += event.tokens
                if event.prompt_logprobs is not None:
                    yield TextDelta(echo, 0, parse_logprobs(event.prompt_logprobs))
                for part in told.parts(event):
                    yield part
                if event.ending is not None:
                    ended = True
                    yield _end(event.ending, meter, choice)
                    return
    finally:
        if not ended:
            meter.sequence(Usage(prompt_tokens=0 if choice else len(prompt), completion_tokens=made))


def _end(ending: Ending, meter: Meter, choice: int) -> Ended | Failed:
    usage = Usage(
        prompt_tokens=0 if choice else ending.prompt_tokens,
        completion_tokens=ending.completion_tokens,
        reasoning_tokens=ending.reasoning_tokens,
        cached_tokens=0 if choice else ending.cached_tokens,
    )
    meter.sequence(usage, queue_seconds=ending.queue_seconds, decode_seconds=ending.decode_seconds)
    if ending.reason == "error":
        return Failed(EngineFailed(f"The engine failed: {ending.error or 'no reason given'}"))
    if ending.reason == "stop" and ending.stop_string is not None:
        return Ended(FinishReason.STOP_SEQUENCE, usage, ending.stop_string)
    return Ended(FinishReason(ending.reason), usage)


def _recommended(facts: Facts) -> Sampling:
    own = facts.defaults
    fields = {name: getattr(own, name) for name in ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")}
    return _UNSAID if all(value is None for value in fields.values()) else Sampling(**fields)


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)
