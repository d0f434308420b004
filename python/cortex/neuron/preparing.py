"""Preparing: a request's bytes as sequences for the engine, and the encoders of its answer; or a refusal."""

import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial

import msgspec

from cortex.dialects import openai_chat, openai_completions
from cortex.dialects.neutral import ChatEvent, ChatRequest, Ended, Sampling, TextDelta, require_supported
from cortex.dialects.openai_completions import CompletionRequest
from cortex.errors import InvalidField
from cortex.neuron.answers import Encoder, Start
from cortex.neuron.engines import Engine, Prompt
from cortex.neuron.generation import Limits, check_length, engine_sampling, generate
from cortex.neuron.metrics import Meter
from cortex.neuron.models import Serving
from cortex.neuron.prompts import template_kwargs, template_messages, template_tools
from cortex.types import FinishReason, Usage

__all__ = ["Prepared", "encode_conversation", "prepare_chat", "prepare_completion"]

Lease = Callable[[str], Serving]


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """`starts` make the sequences; `encoder` is there for a stream, `whole` makes the body otherwise."""

    serving: Serving
    starts: tuple[Start, ...]
    prompt_tokens: int
    ignored: tuple[str, ...]
    encoder: Encoder | None
    whole: Callable[[Sequence[Sequence[ChatEvent]]], bytes]


class _ChatEncoder:
    """The chat dialect has one choice, so its encoder knows no index."""

    def __init__(self, inner: openai_chat.StreamEncoder) -> None:
        self._inner = inner
        self.start = inner.start

    def event(self, event: ChatEvent, index: int) -> bytes:
        """The bytes of an event."""
        assert index == 0, "a chat answer has one choice"
        return self._inner.event(event)


async def prepare_chat(body: bytes, lease: Lease, meter: Meter) -> Prepared:
    """A chat completion."""
    asked = openai_chat.decode_request(body)
    serving = lease(asked.model)
    asked = require_supported(asked, serving.capabilities)
    engine = serving.engine
    prompt = await encode_conversation(engine, asked)
    limits = Limits(
        max_tokens=asked.max_tokens, min_tokens=asked.min_tokens, ignore_eos=asked.ignore_eos, stop=asked.stop
    )
    start = _sequence(engine, prompt, asked.sampling, limits, meter)
    id_, created = f"chatcmpl-{secrets.token_hex(12)}", int(time.time())
    encoder = None
    if asked.stream:
        encoder = _ChatEncoder(
            openai_chat.StreamEncoder(id=id_, model=asked.model, created=created, include_usage=asked.include_usage)
        )

    def whole(sequences: Sequence[Sequence[ChatEvent]]) -> bytes:
        return openai_chat.encode_response(sequences[0], id=id_, model=asked.model, created=created)

    return Prepared(
        serving=serving,
        starts=(start,),
        prompt_tokens=len(prompt),
        ignored=asked.ignored,
        encoder=encoder,
        whole=whole,
    )


async def encode_conversation(engine: Engine, asked: ChatRequest) -> Prompt:
    """The rendered and tokenised prompt, whatever its length. Raises TemplateFailed, InvalidField."""
    return await engine.encode_chat(
        template_messages(asked), tools=template_tools(asked), kwargs=template_kwargs(asked)
    )


async def prepare_completion(body: bytes, lease: Lease, meter: Meter) -> Prepared:
    """A raw completion: a sequence for each prompt and choice, in order of the prompts."""
    asked = openai_completions.decode_request(body)
    if asked.max_tokens == 0 and not asked.echo:
        raise InvalidField("`max_tokens` 0 makes sense only with `echo`.", param="max_tokens")
    serving = lease(asked.model)
    asked = openai_completions.require_supported(asked, serving.capabilities | {"n"})
    starts: list[Start] = []
    prompt_tokens = 0
    for raw in asked.prompts:
        prompt = await _encode_raw(serving.engine, raw)
        prompt_tokens += len(prompt)
        echo = await _text_of(serving.engine, raw) if asked.echo else ""
        for choice in range(asked.n):
            start = _choice(serving.engine, prompt, asked, choice, meter)
            starts.append(partial(_with_echo, echo, start) if echo else start)
    id_, created = f"cmpl-{secrets.token_hex(12)}", int(time.time())
    encoder = None
    if asked.stream:
        encoder = openai_completions.StreamEncoder(
            id=id_, model=asked.model, created=created, choices=len(starts), include_usage=asked.include_usage
        )
    return Prepared(
        serving=serving,
        starts=tuple(starts),
        prompt_tokens=prompt_tokens,
        ignored=asked.ignored,
        encoder=encoder,
        whole=lambda sequences: openai_completions.encode_response(
            sequences, id=id_, model=asked.model, created=created
        ),
    )


async def _encode_raw(engine: Engine, raw: str | tuple[int, ...]) -> Prompt:
    if isinstance(raw, str):
        return await engine.encode_text(raw)
    return engine.prompt(raw)


async def _text_of(engine: Engine, raw: str | tuple[int, ...]) -> str:
    return raw if isinstance(raw, str) else await engine.decode(raw)


def _choice(engine: Engine, prompt: Prompt, asked: CompletionRequest, choice: int, meter: Meter) -> Start:
    if asked.max_tokens == 0:
        return partial(_nothing, prompt, meter)
    sampling = asked.sampling
    if sampling.seed is not None and choice:  # else all choices would be the same
        sampling = msgspec.structs.replace(sampling, seed=sampling.seed + choice)
    limits = Limits(
        max_tokens=asked.max_tokens, min_tokens=asked.min_tokens, ignore_eos=asked.ignore_eos, stop=asked.stop
    )
    return _sequence(engine, prompt, sampling, limits, meter)


def _sequence(engine: Engine, prompt: Prompt, asked: Sampling, limits: Limits, meter: Meter) -> Start:
    check_length(prompt, engine.facts.context_length)
    return partial(generate, engine, prompt, engine_sampling(engine, prompt, asked, limits), meter)


async def _with_echo(text: str, start: Start) -> AsyncGenerator[ChatEvent, None]:
    yield TextDelta(text)
    async with aclosing(start()) as events:
        async for event in events:
            yield event


async def _nothing(prompt: Prompt, meter: Meter) -> AsyncGenerator[ChatEvent, None]:
    """The sequence of an answer that is the prompt alone."""
    usage = Usage(prompt_tokens=len(prompt))
    meter.sequence(usage)
    yield Ended(FinishReason.LENGTH, usage)
