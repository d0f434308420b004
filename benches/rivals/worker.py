"""One engine in a process of its own, measured when the comparison asks. Standard library only: rivals' Pythons run it.

A line on stdin, `KIND TOKENS SALT`, is answered by a line of JSON on stdout:
- `prefill`: from handing over a prompt of so many tokens to its first token;
- `decode`: a prompt of so many tokens, then from the first of `DECODE_TOKENS` new tokens to the last;
- `repeat`: the first token of a prompt that is new, and of the same prompt again.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

DECODE_TOKENS = 64
JIFFIES_PER_SECOND = 100
FIRST_TOKEN, TOKEN_RANGE = 100, 40_000  # ordinary tokens of the starter model's vocabulary


class Engine(Protocol):
    """What is measured."""

    about: str

    def generate(self, prompt: list[int], count: int) -> AsyncIterator[int]:
        """Generate `count` tokens greedily, no end token ending it; gives how many came at once, as they come."""


async def serve(engine: Engine, started: float) -> None:
    """Say what the engine is and what its load took (its first token included), then measure until stdin ends."""
    await first_token(engine, prompt(0, 8))
    say({"about": engine.about, "load_seconds": time.monotonic() - started, "resident_bytes": resident_bytes()})
    for line in sys.stdin:
        kind, tokens, salt = line.split()
        measure = {"prefill": prefill, "decode": decode, "repeat": repeat}[kind]
        say(await measure(engine, prompt(int(salt), int(tokens))))


def say(value: dict[str, Any]) -> None:
    """One line of JSON, at once."""
    print(json.dumps(value), flush=True)


def prompt(salt: int, length: int) -> list[int]:
    """Tokens that no other salt's prompt begins with, so that no cache of prefixes helps."""
    return [FIRST_TOKEN + (at * 7919 + salt * 104_729) % TOKEN_RANGE for at in range(length)]


async def first_token(engine: Engine, tokens: list[int]) -> None:
    """Generate one token."""
    made = [count async for count in engine.generate(tokens, 1)]
    assert sum(made) == 1


async def prefill(engine: Engine, tokens: list[int]) -> dict[str, float]:
    """Tokens of the prompt by time."""
    clock = Clock()
    await first_token(engine, tokens)
    return clock.read(len(tokens))


async def decode(engine: Engine, tokens: list[int]) -> dict[str, float]:
    """New tokens by time, the first not counted."""
    clock, made = None, 0
    async for count in engine.generate(tokens, 1 + DECODE_TOKENS):
        if clock is None:
            clock, made = Clock(), -count
        made += count
    assert clock is not None
    assert made == DECODE_TOKENS
    return clock.read(made)


async def repeat(engine: Engine, tokens: list[int]) -> dict[str, float]:
    """Tokens of the new prompt by time, and the share of that time which the repeated one takes."""
    first = await prefill(engine, tokens)
    again = await prefill(engine, tokens)
    return {**first, "share": first["per_second"] / again["per_second"]}


class Clock:
    """Wall time, this process's CPU time, and the CPU time of all others, from its making."""

    def __init__(self) -> None:
        self._busy = busy_seconds()
        self._cpu = time.process_time()
        self._wall = time.monotonic()

    def read(self, tokens: int) -> dict[str, float]:
        """Tokens a second, tokens a CPU-second, and how many cores other processes kept busy."""
        wall, cpu = time.monotonic() - self._wall, time.process_time() - self._cpu
        others = max(0.0, busy_seconds() - self._busy - cpu)
        return {"per_second": tokens / wall, "per_cpu_second": tokens / cpu, "others": others / wall}


def busy_seconds() -> float:
    """CPU seconds that all processes of the machine have used; in steps of 10 ms."""
    user, nice, system, _idle, _wait, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split(None, 9)[1:9])
    return (user + nice + system + irq + softirq) / JIFFIES_PER_SECOND


def resident_bytes() -> int:
    """Memory of this process that is no page of a file, which the system could drop."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024


def arguments() -> tuple[str, int, int]:
    """The model file, the number of threads and the length of the context."""
    return sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def run(engine: Engine, started: float) -> None:
    """Serve on an event loop."""
    asyncio.run(serve(engine, started))
