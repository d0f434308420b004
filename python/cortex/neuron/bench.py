"""The speed of a model on this machine: prompts by length, generation by batch, and how near the machine's limits."""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Literal

import msgspec

from cortex.engine import (
    AsyncEngine,
    EngineSampling,
    LoadOptions,
    Machine,
    ModelFacts,
    OnProgress,
    StepWork,
    inspect_model,
    measure_machine,
)
from cortex.errors import InvalidField

__all__ = ["BenchPlan", "BenchReport", "Limit", "Row", "bench", "limit_of"]

_SHORT_PROMPT = 8  # tokens before those whose generation is timed
_BLOCK = 32
TaskKind = Literal["prompt", "generate"]
_Task = tuple[TaskKind, int, int]  # with tokens and batch


class BenchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure: lengths of prompts, tokens to generate, and sequences at a time; each `rounds` times. `quant`
    quantises a folder of safetensors while it is loaded."""

    prompts: tuple[int, ...] = (128, 512)
    generate: int = 64
    batches: tuple[int, ...] = (1, 8, 32)
    rounds: int = 3
    threads: int | None = None
    quant: str | None = None

    def check(self) -> None:
        """Raises InvalidField."""
        for name, numbers in (("prompt", self.prompts), ("batch", self.batches)):
            if any(number < 1 for number in numbers):
                raise InvalidField(f"--{name} takes numbers from 1 on", param=name)
        if self.generate < 2 or self.rounds < 1:
            raise InvalidField("--generate takes a number from 2 on, --rounds from 1 on", param="generate")

    def options(self, kv_bytes_per_token: int) -> LoadOptions:
        """Room for the longest prompt and for the largest batch."""
        widest = max(self.batches, default=1)
        short = -(-(_SHORT_PROMPT + self.generate) // _BLOCK) * _BLOCK
        longest = max(*self.prompts, _SHORT_PROMPT, short) + _BLOCK
        tokens = max(-(-longest // _BLOCK) * _BLOCK, widest * short) + _BLOCK
        return LoadOptions(
            context_length=longest,
            max_sequences=widest,
            kv_bytes=tokens * kv_bytes_per_token,
            threads=self.threads,
            quant=self.quant,
        )


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """The resource that bounds a task, and the share of it that was used."""

    resource: Literal["memory", "compute"]
    share: float


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One task: tokens a second of all its sequences together, the median and the best of all rounds."""

    task: TaskKind
    tokens: int
    batch: int
    tokens_per_second: float
    best: float
    limit: Limit


class BenchReport(msgspec.Struct, frozen=True, kw_only=True):
    """All that was measured."""

    model: ModelFacts
    machine: Machine
    load_seconds: float
    rows: tuple[Row, ...]


async def bench(
    path: Path, plan: BenchPlan, *, on_load: OnProgress | None = None, on_task: Callable[[str], None] | None = None
) -> BenchReport:
    """Measure the machine, load the model, then every task in turn, round after round; the first is not counted.

    Raises what AsyncEngine.load raises, and InvalidField.
    """
    plan.check()
    inspection = await inspect_model(path, quant=plan.quant)
    if inspection.kind != "generate":
        raise InvalidField("This model makes embeddings; only models that generate are measured.", param="model")
    machine = await measure_machine(plan.threads)
    start = time.perf_counter()
    engine = await AsyncEngine.load(path, plan.options(inspection.kv_bytes_per_token), on_progress=on_load)
    load_seconds = time.perf_counter() - start
    try:
        measured = await _measure(engine, plan, on_task or (lambda _: None))
    finally:
        await engine.close()
    step = engine.facts.step
    assert step is not None, "a model that generates has steps"
    rows = tuple(
        Row(
            task=task,
            tokens=tokens,
            batch=batch,
            tokens_per_second=median(rates),
            best=max(rates),
            limit=limit_of(step, machine, inspection.kv_bytes_per_token, (task, tokens, batch, median(rates))),
        )
        for (task, tokens, batch), rates in measured.items()
    )
    return BenchReport(model=engine.facts, machine=machine, load_seconds=load_seconds, rows=rows)


async def _measure(engine: AsyncEngine, plan: BenchPlan, on_task: Callable[[str], None]) -> dict[_Task, list[float]]:
    """Tokens a second of every task, in turn, round after round; the first round is not counted."""
    rates: dict[_Task, list[float]] = {("prompt", length, 1): [] for length in plan.prompts}
    rates |= {("generate", plan.generate, batch): [] for batch in plan.batches}
    for at in range(plan.rounds + 1):
        for number, ((task, tokens, batch), found) in enumerate(rates.items()):
            on_task(f"round {at} of {plan.rounds}: {task} {tokens}, batch {batch}")
            salt = at * len(rates) + number
            if task == "prompt":
                rate = await _prompt(engine, tokens, salt)
            else:
                rate = await _generate(engine, tokens, batch, salt)
            if at > 0:
                found.append(rate)
    return rates


def limit_of(
    step: StepWork, machine: Machine, kv_bytes_per_token: int, measured: tuple[TaskKind, int, int, float]
) -> Limit:
    """The nearer of two limits: bytes that must be read by the memory's speed, multiply-adds by the cores'.

    A prompt reads the weights once for each step of it and multiplies every token with those of the layers; a step of
    generation reads all weights and the keys and values of each sequence, and multiplies each sequence with all.
    """
    task, tokens, batch, rate = measured
    if task == "prompt":
        seconds = tokens / rate
        read = float(step.bytes * -(-tokens // step.tokens))
        multiplied = tokens * step.layer_weights + step.head_weights
    else:
        seconds = batch / rate
        read = step.bytes + batch * kv_bytes_per_token * (_SHORT_PROMPT + tokens / 2)
        multiplied = batch * (step.layer_weights + step.head_weights)
    memory = read / seconds / machine.bytes_per_second
    compute = multiplied / seconds / machine.multiply_adds_per_second
    if memory > compute:
        return Limit(resource="memory", share=memory)
    return Limit(resource="compute", share=compute)


def _tokens(engine: AsyncEngine, salt: int, length: int) -> Sequence[int]:
    """Tokens that no other salt's prompt begins with, so that no cache of prefixes helps."""
    return [(at * 7919 + salt * 104_729) % engine.facts.vocab for at in range(length)]


def _sampling(count: int) -> EngineSampling:
    return EngineSampling(max_tokens=count, temperature=0.0, ignore_eos=True)


async def _prompt(engine: AsyncEngine, length: int, salt: int) -> float:
    """Tokens of a new prompt a second, until the first token after it."""
    start = time.perf_counter()
    async for _ in engine.generate(engine.prompt(_tokens(engine, salt, length)), _sampling(1)):
        pass
    return length / (time.perf_counter() - start)


async def _generate(engine: AsyncEngine, count: int, batch: int, salt: int) -> float:
    """Tokens a second of all sequences together, from when the last of them has its first token."""
    arrivals: list[list[tuple[float, int]]] = [[] for _ in range(batch)]

    async def follow(number: int) -> None:
        prompt = engine.prompt(_tokens(engine, 1_000_000 + salt * 1000 + number, _SHORT_PROMPT))
        async for event in engine.generate(prompt, _sampling(count)):
            arrivals[number].append((time.perf_counter(), event.tokens))

    async with asyncio.TaskGroup() as group:
        for number in range(batch):
            group.create_task(follow(number))
    start = max(times[0][0] for times in arrivals)
    later = [(at, tokens) for times in arrivals for at, tokens in times if at > start]
    return sum(tokens for _, tokens in later) / (max(at for at, _ in later) - start)
