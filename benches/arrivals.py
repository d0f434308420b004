"""Arrivals: how long running streams wait for tokens while a long prompt arrives, and a short prompt behind long ones.

On a busy machine the gaps are those of the machine: `CPU` is what the engine's first thread ran in a gap.

Run: python -m benches.arrivals [--model FILE] [--streams 1 8] [--threads 1 2] [--tokens 2048] [--rounds 5]
"""

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from cortex.engine import AsyncEngine, EngineSampling, LoadOptions
from cortex.ops.starter import cached_starter

IDS = range(1000, 40_000)  # of the starter model, none of them a control token
CONTEXT = 4096
LEAD_TOKENS, CALM_TOKENS = 8, 32
SHORT_TOKENS, LONG_PROMPTS = 64, 4


@dataclass
class Stream:
    """A sequence that goes on until it is left; `arrivals` are the times of its tokens, `cpu` what the engine's thread
    had run by then."""

    arrivals: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, engine: AsyncEngine, prompt: Sequence[int]) -> None:
        """Generate."""
        sampling = EngineSampling(max_tokens=CONTEXT - len(prompt), temperature=0.0, ignore_eos=True)
        async with aclosing(engine.generate(engine.prompt(prompt), sampling)) as events:
            async for event in events:
                self.arrivals += [time.monotonic()] * event.tokens
                self.cpu += [engine_cpu()] * event.tokens
                self.news.set()

    async def until(self, tokens: int) -> None:
        """Wait for so many tokens."""
        while len(self.arrivals) < tokens:
            self.news.clear()
            await self.news.wait()

    def gaps(self, start: float, end: float) -> list[tuple[float, float]]:
        """Seconds between tokens, a part of which lies in a span of time: by the clock and of the engine's thread."""
        pairs = pairwise(zip(self.arrivals, self.cpu, strict=True))
        return [
            (after[0] - before[0], after[1] - before[1])
            for before, after in pairs
            if after[0] >= start and before[0] <= end
        ]


@dataclass
class Found:
    """Of all rounds: gaps before the arrival and during it, and seconds to the first token of the long prompt."""

    calm: list[tuple[float, float]] = field(default_factory=list)
    busy: list[tuple[float, float]] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)


def engine_cpu() -> float:
    """Seconds that the engine's first thread has run."""
    for task in Path("/proc/self/task").iterdir():
        if (task / "comm").read_text().strip() == "cortex-engine":
            return int((task / "schedstat").read_text().split()[0]) / 1e9
    raise AssertionError("no engine thread")


class Prompts:
    """Random ones, so that no two begin alike."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def __call__(self, tokens: int) -> list[int]:
        return self._random.choices(IDS, k=tokens)


@asynccontextmanager
async def running(engine: AsyncEngine, prompts: Prompts, width: int) -> AsyncIterator[list[Stream]]:
    """So many streams that have begun."""
    streams = [Stream() for _ in range(width)]
    tasks = [asyncio.create_task(stream.run(engine, prompts(LEAD_TOKENS))) for stream in streams]
    try:
        for stream in streams:
            await stream.until(LEAD_TOKENS)
        yield streams
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def first_token(engine: AsyncEngine, prompt: Sequence[int]) -> float:
    """Seconds from handing a prompt over to its first token."""
    sent = time.monotonic()
    sampling = EngineSampling(max_tokens=1, temperature=0.0, ignore_eos=True)
    async with aclosing(engine.generate(engine.prompt(prompt), sampling)) as events:
        async for event in events:
            if event.tokens:
                return time.monotonic() - sent
    raise AssertionError("no token")


async def arrival(engine: AsyncEngine, prompts: Prompts, width: int, tokens: int, found: Found) -> None:
    """One long prompt while so many streams run."""
    async with running(engine, prompts, width) as streams:
        began = time.monotonic()
        await streams[0].until(len(streams[0].arrivals) + CALM_TOKENS)
        sent = time.monotonic()
        found.calm += [gap for stream in streams for gap in stream.gaps(began, sent)]
        found.firsts.append(await first_token(engine, prompts(tokens)))
        end = time.monotonic()
        found.busy += [gap for stream in streams for gap in stream.gaps(sent, end)]


async def behind(engine: AsyncEngine, prompts: Prompts, tokens: int) -> float:
    """Seconds to the first token of a short prompt that arrives when long ones wait."""
    async with AsyncExitStack() as stack:
        group = await stack.enter_async_context(asyncio.TaskGroup())
        for _ in range(LONG_PROMPTS):
            group.create_task(first_token(engine, prompts(tokens)))
        await asyncio.sleep(0)
        return await first_token(engine, prompts(SHORT_TOKENS))


async def measure(options: argparse.Namespace, threads: int) -> None:
    """One load of the model, all widths."""
    load = LoadOptions(context_length=CONTEXT, threads=threads, step_tokens=options.step_tokens)
    engine = await AsyncEngine.load(options.model, load)
    prompts = Prompts(threads)
    await first_token(engine, prompts(SHORT_TOKENS))
    alone = [await first_token(engine, prompts(options.tokens)) for _ in range(options.rounds)]
    short = [await first_token(engine, prompts(SHORT_TOKENS)) for _ in range(options.rounds)]
    for width in options.streams:
        found = Found()
        for _ in range(options.rounds):
            await arrival(engine, prompts, width, options.tokens, found)
        calm, busy = [gap for gap, _ in found.calm], [gap for gap, _ in found.busy]
        cells = [*shown(calm), *shown(busy), max(busy), *shown([cpu for _, cpu in found.busy])]
        cells.append(statistics.median(found.firsts))
        cells.append(statistics.median(alone))
        print(f"{threads:>7}{width:>8}" + "".join(f"{1000 * cell:>11.0f}" for cell in cells), flush=True)
    late = [await behind(engine, prompts, options.tokens) for _ in range(options.rounds)]
    text = f"{SHORT_TOKENS} tokens behind {LONG_PROMPTS} prompts of {options.tokens}: first token after"
    print(
        f"{threads:>7} {text} {1000 * statistics.median(late):.0f} ms, alone {1000 * statistics.median(short):.0f} ms"
    )
    await engine.close()


def shown(gaps: list[float]) -> tuple[float, float]:
    """Median and 99th percentile."""
    return statistics.median(gaps), statistics.quantiles(gaps, n=100)[98]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benches.arrivals", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", type=Path, default=cached_starter(), help="a GGUF file; default: the starter model")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8], help="default: 1 8")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    parser.add_argument("--tokens", type=int, default=2048, help="of the long prompt; default: 2048")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--step-tokens", type=int, help="most tokens of a step; default: the engine's")
    options = parser.parse_args()
    names = ("calm p50", "calm p99", "busy p50", "busy p99", "busy max", "CPU p50", "CPU p99", "long TTFT", "alone")
    print(f"{'threads':>7}{'streams':>8}" + "".join(f"{name:>11}" for name in names) + "   (ms)")
    for threads in options.threads:
        asyncio.run(measure(options, threads))


if __name__ == "__main__":
    main()
