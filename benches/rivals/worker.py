"""One engine in a process of its own, measured when the comparison asks. Standard library only: rivals' Pythons run it.

A line on stdin, `prefill SALT` or `decode SALT`, is answered by a line of JSON on stdout.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

PROMPT_TOKENS, DECODE_PROMPT_TOKENS, DECODE_TOKENS = 512, 8, 128
CONTEXT_TOKENS = 1024
JIFFIES_PER_SECOND = 100
FIRST_TOKEN, TOKEN_RANGE = 100, 40_000  # ordinary tokens of the starter model's vocabulary


class Engine(Protocol):
    """What is measured."""

    about: str

    def generate(self, prompt: list[int], count: int) -> AsyncIterator[int]:
        """Generate `count` tokens greedily, no end token ending it; gives how many came at once, as they come."""


async def serve(engine: Engine) -> None:
    """Say what the engine is, then measure until stdin ends."""
    say({"about": engine.about})
    for line in sys.stdin:
        kind, salt = line.split()
        say(await {"prefill": prefill, "decode": decode}[kind](engine, int(salt)))


def say(value: dict[str, Any]) -> None:
    """One line of JSON, at once."""
    print(json.dumps(value), flush=True)


def prompt(salt: int, length: int) -> list[int]:
    """Tokens that no other salt's prompt begins with, so that no cache of prefixes helps."""
    return [FIRST_TOKEN + (at * 7919 + salt * 104_729) % TOKEN_RANGE for at in range(length)]


async def prefill(engine: Engine, salt: int) -> dict[str, float]:
    """From handing over a prompt to its first token."""
    tokens = prompt(salt, PROMPT_TOKENS)
    clock = Clock()
    made = [count async for count in engine.generate(tokens, 1)]
    assert sum(made) == 1
    return clock.read(len(tokens))


async def decode(engine: Engine, salt: int) -> dict[str, float]:
    """From the first token of one sequence to its last."""
    clock, made = None, 0
    async for count in engine.generate(prompt(salt, DECODE_PROMPT_TOKENS), 1 + DECODE_TOKENS):
        if clock is None:
            clock, made = Clock(), -count
        made += count
    assert clock is not None
    assert made == DECODE_TOKENS
    return clock.read(made)


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


def arguments() -> tuple[str, int]:
    """The model file and the number of threads."""
    return sys.argv[1], int(sys.argv[2])


def run(engine: Engine) -> None:
    """Serve on an event loop."""
    asyncio.run(serve(engine))
