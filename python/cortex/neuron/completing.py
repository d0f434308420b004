"""Completing: the bytes of a raw completion request as sequences for the engine, one for each prompt and choice."""

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

import msgspec

from cortex.dialects import openai_completions
from cortex.dialects.neutral import ChatEvent, Ended, TextDelta
from cortex.dialects.openai_completions import CompletionRequest
from cortex.errors import InvalidField
from cortex.neuron.answers import Start
from cortex.neuron.engines import Engine, Prompt
from cortex.neuron.generation import Limits
from cortex.neuron.metrics import Meter
from cortex.neuron.preparing import Lease, Prepared, sequence
from cortex.types import FinishReason, Usage

__all__ = ["prepare_completion"]


async def prepare_completion(body: bytes, lease: Lease, meter: Meter) -> Prepared:
    """`/v1/completions`; the sequences are in order of the prompts."""
    asked = openai_completions.decode_request(body)
    if asked.max_tokens == 0 and not asked.echo:
        raise InvalidField("`max_tokens` 0 makes sense only with `echo`.", param="max_tokens")
    serving = lease(asked.model)
    asked = openai_completions.require_supported(asked, serving.capabilities | {"n"})
    starts: list[Start] = []
    prompt_tokens = 0
    for raw in asked.prompts:
        prompt = await _encode(serving.engine, raw)
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
        whole=partial(openai_completions.encode_response, id=id_, model=asked.model, created=created),
    )


async def _encode(engine: Engine, raw: str | tuple[int, ...]) -> Prompt:
    if isinstance(raw, str):
        return await engine.encode_text(raw, most_tokens=engine.facts.context_length - 1)
    return engine.prompt(raw)


async def _text_of(engine: Engine, raw: str | tuple[int, ...]) -> str:
    return raw if isinstance(raw, str) else await engine.decode(raw)


def _choice(engine: Engine, prompt: Prompt, asked: CompletionRequest, choice: int, meter: Meter) -> Start:
    if asked.max_tokens == 0:
        return partial(_nothing, len(prompt) if choice == 0 else 0, meter)
    sampling = asked.sampling
    if sampling.seed is not None and choice:  # else all choices would be the same
        sampling = msgspec.structs.replace(sampling, seed=sampling.seed + choice)
    limits = Limits(
        max_tokens=asked.max_tokens, min_tokens=asked.min_tokens, ignore_eos=asked.ignore_eos, stop=asked.stop
    )
    return sequence(engine, prompt, sampling, limits, meter, choice)


async def _with_echo(text: str, start: Start) -> AsyncGenerator[ChatEvent, None]:
    yield TextDelta(text)
    async with aclosing(start()) as events:
        async for event in events:
            yield event


async def _nothing(prompt_tokens: int, meter: Meter) -> AsyncGenerator[ChatEvent, None]:
    """The sequence of an answer that is the prompt alone."""
    usage = Usage(prompt_tokens=prompt_tokens)
    meter.sequence(usage)
    yield Ended(FinishReason.LENGTH, usage)
