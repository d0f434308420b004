"""Preparing: the bytes of a chat request, in either chat dialect, as a sequence for the engine; or a refusal."""

import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import msgspec

from cortex.dialects import anthropic, openai_chat
from cortex.dialects.neutral import ChatEvent, ChatRequest, Sampling, require_supported
from cortex.neuron.answers import Encoder, Start
from cortex.neuron.engines import Engine, Prompt
from cortex.neuron.generation import Limits, check_length, engine_sampling, generate
from cortex.neuron.metrics import Meter
from cortex.neuron.models import Serving
from cortex.neuron.prompts import template_kwargs, template_messages, template_tools

__all__ = [
    "ChatEncoder",
    "Lease",
    "Prepared",
    "encode_conversation",
    "prepare",
    "prepare_chat",
    "prepare_messages",
    "sequence",
]

Lease = Callable[[str], Serving]


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """`starts` make the sequences; `encoder` is there for a stream, `whole` makes the body otherwise."""

    serving: Serving
    starts: tuple[Start, ...]
    prompt_tokens: int
    ignored: tuple[str, ...]
    encoder: Encoder | None
    whole: Callable[[Sequence[Sequence[ChatEvent]]], bytes]


class ChatEncoder(Protocol):
    """The stream encoder of a dialect whose answers have one choice."""

    def start(self) -> bytes: ...

    def keep_alive(self) -> bytes: ...

    def event(self, event: ChatEvent) -> bytes: ...


class _OneChoice:
    """The encoder of a dialect whose answers have one choice, so that it knows no index."""

    def __init__(self, inner: ChatEncoder) -> None:
        self._inner = inner
        self.start = inner.start
        self.keep_alive = inner.keep_alive

    def event(self, event: ChatEvent, index: int) -> bytes:
        """The bytes of an event."""
        assert index == 0, "a chat answer has one choice"
        return self._inner.event(event)


async def prepare_chat(body: bytes, lease: Lease, meter: Meter) -> Prepared:
    """`/v1/chat/completions`."""
    asked = openai_chat.decode_request(body)
    id_, created = f"chatcmpl-{secrets.token_hex(12)}", int(time.time())

    def encoder(_prompt_tokens: int) -> ChatEncoder:
        return openai_chat.StreamEncoder(id=id_, model=asked.model, created=created, include_usage=asked.include_usage)

    def whole(sequences: Sequence[Sequence[ChatEvent]]) -> bytes:
        return openai_chat.encode_response(sequences[0], id=id_, model=asked.model, created=created)

    return await prepare(asked, lease, meter, encoder, whole)


async def prepare_messages(body: bytes, lease: Lease, meter: Meter, *, signing_key: bytes) -> Prepared:
    """`/v1/messages`."""
    asked = anthropic.decode_request(body, signing_key=signing_key)
    id_ = f"msg_{secrets.token_hex(12)}"

    def encoder(prompt_tokens: int) -> ChatEncoder:
        return anthropic.StreamEncoder(
            id=id_,
            model=asked.model,
            input_tokens=prompt_tokens,
            signing_key=signing_key,
            request_id=meter.request_id,
        )

    def whole(sequences: Sequence[Sequence[ChatEvent]]) -> bytes:
        return anthropic.encode_response(sequences[0], id=id_, model=asked.model, signing_key=signing_key)

    return await prepare(asked, lease, meter, encoder, whole)


async def encode_conversation(engine: Engine, asked: ChatRequest, *, most_tokens: int | None = None) -> Prompt:
    """The rendered and tokenised prompt. Far more than `most_tokens` are refused before they are counted.

    Raises TemplateFailed, InvalidField, ContextLengthExceeded."""
    return await engine.encode_chat(
        template_messages(asked), tools=template_tools(asked), kwargs=template_kwargs(asked), most_tokens=most_tokens
    )


def sequence(engine: Engine, prompt: Prompt, asked: Sampling, limits: Limits, meter: Meter, choice: int = 0) -> Start:
    """What starts one sequence, the choice of that number for its prompt. Raises ContextLengthExceeded."""
    check_length(prompt, engine.facts.context_length)
    sampling = engine_sampling(engine, prompt, asked, limits)
    return partial(generate, engine, prompt, sampling, meter, count_prompt=choice == 0)


async def prepare(
    asked: ChatRequest,
    lease: Lease,
    meter: Meter,
    encoder: Callable[[int], ChatEncoder],
    whole: Callable[[Sequence[Sequence[ChatEvent]]], bytes],
) -> Prepared:
    """A chat request of any dialect, which `encoder` (given the prompt's tokens) and `whole` write the answer in."""
    serving = lease(asked.model)
    asked = require_supported(asked, serving.capabilities)
    most = serving.engine.facts.context_length - 1
    prompt = await encode_conversation(serving.engine, asked, most_tokens=most)
    limits = Limits(
        max_tokens=asked.max_tokens, min_tokens=asked.min_tokens, ignore_eos=asked.ignore_eos, stop=asked.stop
    )
    return Prepared(
        serving=serving,
        starts=(sequence(serving.engine, prompt, asked.sampling, limits, meter),),
        prompt_tokens=len(prompt),
        ignored=asked.ignored,
        encoder=_OneChoice(encoder(len(prompt))) if asked.stream else None,
        whole=whole,
    )
