"""Preparing: the bytes of a chat request, in either chat dialect, as a sequence for the engine; or a refusal."""

import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import msgspec

from cortex.dialects import anthropic, openai_chat
from cortex.dialects.neutral import ChatEvent, ChatRequest, Sampling, require_supported
from cortex.dialects.structured import structure_of_format
from cortex.errors import InvalidField
from cortex.neuron.answers import Encoder, Start
from cortex.neuron.calling import call_structure, is_forced, parsing_of
from cortex.neuron.engines import Engine, Prompt
from cortex.neuron.generation import Limits, Output, compile_structure, engine_sampling, generate
from cortex.neuron.metrics import Meter
from cortex.neuron.models import Serving
from cortex.neuron.probing import SWITCHES
from cortex.neuron.prompts import PromptStyle, template_kwargs, template_messages, template_tools

__all__ = [
    "ChatEncoder",
    "Lease",
    "Prepared",
    "choice_sampling",
    "encode_conversation",
    "one_choice",
    "prepare",
    "prepare_chat",
    "prepare_messages",
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
        assert index == 0, "an answer in this dialect has one choice"
        return self._inner.event(event)


def one_choice(inner: ChatEncoder) -> Encoder:
    """An encoder that knows no index, where the engine's sequences are numbered."""
    return _OneChoice(inner)


async def prepare_chat(body: bytes, lease: Lease, meter: Meter) -> Prepared:
    """`/v1/chat/completions`."""
    asked = openai_chat.decode_request(body)
    id_, created = f"chatcmpl-{secrets.token_hex(12)}", int(time.time())

    def encoder(_prompt_tokens: int) -> Encoder:
        return openai_chat.StreamEncoder(
            id=id_, model=asked.model, created=created, choices=asked.n, include_usage=asked.include_usage
        )

    def whole(sequences: Sequence[Sequence[ChatEvent]]) -> bytes:
        return openai_chat.encode_response(*sequences, id=id_, model=asked.model, created=created)

    return await prepare(asked, lease, meter, encoder, whole)


async def prepare_messages(body: bytes, lease: Lease, meter: Meter, *, signing_key: bytes) -> Prepared:
    """`/v1/messages`."""
    asked = anthropic.decode_request(body, signing_key=signing_key)
    id_ = f"msg_{secrets.token_hex(12)}"

    def encoder(prompt_tokens: int) -> Encoder:
        return one_choice(
            anthropic.StreamEncoder(
                id=id_,
                model=asked.model,
                input_tokens=prompt_tokens,
                signing_key=signing_key,
                request_id=meter.request_id,
            )
        )

    def whole(sequences: Sequence[Sequence[ChatEvent]]) -> bytes:
        return anthropic.encode_response(sequences[0], id=id_, model=asked.model, signing_key=signing_key)

    return await prepare(asked, lease, meter, encoder, whole, call_prefix="toolu_")


async def encode_conversation(serving: Serving, asked: ChatRequest, *, most_tokens: int | None = None) -> Prompt:
    """The rendered and tokenised prompt. Far more than `most_tokens` are refused before they are counted.

    Raises TemplateFailed, InvalidField, ContextLengthExceeded."""
    style = PromptStyle(capabilities=serving.capabilities, tool_format=serving.engine.facts.tool_format)
    return await serving.engine.encode_chat(
        template_messages(asked, style),
        tools=template_tools(asked, style),
        kwargs=template_kwargs(asked, style),
        most_tokens=most_tokens,
    )


def choice_sampling(sampling: Sampling, choice: int) -> Sampling:
    """The sampling of one choice among several: a seed of its own, else all would be the same."""
    if sampling.seed is None or not choice:
        return sampling
    return msgspec.structs.replace(sampling, seed=sampling.seed + choice)


async def prepare(
    asked: ChatRequest,
    lease: Lease,
    meter: Meter,
    encoder: Callable[[int], Encoder],
    whole: Callable[[Sequence[Sequence[ChatEvent]]], bytes],
    *,
    call_prefix: str = "call_",
) -> Prepared:
    """A chat request of any dialect, which `encoder` (given the prompt's tokens) and `whole` write the answer in; the
    ids of tool calls begin with `call_prefix`."""
    serving = lease(asked.model)
    asked = require_supported(asked, serving.capabilities)
    most = serving.engine.facts.context_length - 1
    if is_forced(asked) and asked.thinking is None and serving.capabilities.intersection(SWITCHES):
        asked = msgspec.structs.replace(asked, thinking=False)  # the grammar leaves no room for a thought
    prompt = await encode_conversation(serving, asked, most_tokens=most)
    return Prepared(
        serving=serving,
        starts=await _starts(serving.engine, prompt, asked, meter, call_prefix),
        prompt_tokens=len(prompt),
        ignored=asked.ignored,
        encoder=encoder(len(prompt)) if asked.stream else None,
        whole=whole,
    )


async def _starts(
    engine: Engine, prompt: Prompt, asked: ChatRequest, meter: Meter, call_prefix: str
) -> tuple[Start, ...]:
    """What starts each choice. Raises ContextLengthExceeded, InvalidField."""
    limits = Limits(
        max_tokens=asked.max_tokens,
        min_tokens=asked.min_tokens,
        ignore_eos=asked.ignore_eos,
        stop=asked.stop,
        stop_token_ids=asked.stop_token_ids,
    )
    output = Output(
        logprobs=(asked.top_logprobs or 0) if asked.logprobs else None,
        grammar=await _grammar(engine, asked),
        parsing=parsing_of(asked),
    )
    starts: list[Start] = []
    for choice in range(asked.n):
        own = choice_sampling(asked.sampling, choice)
        sampling = engine_sampling(engine, prompt, own, limits=limits, output=output)
        starts.append(partial(generate, engine, prompt, sampling, meter, choice=choice, call_prefix=call_prefix))
    return tuple(starts)


async def _grammar(engine: Engine, asked: ChatRequest) -> Any:
    """What the answer must look like: a call that is asked for, or the client's own wish. Raises InvalidField."""
    if not is_forced(asked):
        return await compile_structure(engine, asked.structure or structure_of_format(asked.response_format))
    try:
        return await compile_structure(engine, call_structure(asked))
    except InvalidField:  # tools often have schemas with words that no grammar knows
        return await compile_structure(engine, call_structure(asked, loose=True))
