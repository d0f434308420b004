"""Completing: the bytes of a raw completion request as sequences for the engine, one for each prompt and choice."""

import secrets
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from functools import partial

from cortex.dialects import openai_completions
from cortex.dialects.neutral import ChatEvent, Ended, TextDelta
from cortex.dialects.openai_completions import CompletionRequest
from cortex.errors import InvalidField
from cortex.neuron.answers import Start
from cortex.neuron.engines import Engine, Prompt
from cortex.neuron.generation import Limits, Output, check_length, compile_structure, engine_sampling, generate
from cortex.neuron.metrics import Meter
from cortex.neuron.preparing import Lease, Prepared, choice_sampling
from cortex.types import FinishReason, Usage

__all__ = ["prepare_completion"]


async def prepare_completion(body: bytes, lease: Lease, meter: Meter) -> Prepared:
    """`/v1/completions`; the sequences are in order of the prompts."""
    asked = openai_completions.decode_request(body)
    if asked.max_tokens == 0 and not asked.echo:
        raise InvalidField("`max_tokens` 0 makes sense only with `echo`.", param="max_tokens")
    serving = lease(asked.model)
    asked = openai_completions.require_supported(asked, serving.capabilities)
    output = Output(
        logprobs=asked.logprobs,
        prompt_logprobs=asked.logprobs if asked.echo else None,
        grammar=await compile_structure(serving.engine, asked.structure),
    )
    starts: list[Start] = []
    prompt_tokens = 0
    for raw in asked.prompts:
        prompt = await _encode(serving.engine, raw)
        prompt_tokens += len(prompt)
        echo = await _text_of(serving.engine, raw) if asked.echo else ""
        check_length(prompt, serving.engine.facts.context_length)
        starts += _choices(serving.engine, prompt, asked, output, echo, meter)
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


def _choices(
    engine: Engine, prompt: Prompt, asked: CompletionRequest, output: Output, echo: str, meter: Meter
) -> Iterator[Start]:
    """What starts each choice of one prompt; one that is to be scored comes back with the engine's first event.

    Raises InvalidField."""
    limits = Limits(
        max_tokens=asked.max_tokens,
        min_tokens=asked.min_tokens,
        ignore_eos=asked.ignore_eos,
        stop=asked.stop,
        stop_token_ids=asked.stop_token_ids,
    )
    scored = output.prompt_logprobs is not None
    for choice in range(asked.n):
        start: Start
        if asked.max_tokens == 0 and not scored:
            start = partial(_nothing, 0 if choice else len(prompt), meter)
        else:
            own = choice_sampling(asked.sampling, choice)
            sampling = engine_sampling(engine, prompt, own, limits=limits, output=output)
            start = partial(generate, engine, prompt, sampling, meter, choice=choice, echo=echo)
        yield partial(_with_echo, echo, start) if echo and not scored else start


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
