"""A scripted neuron as a process of its own: it sends lone chunks, each with the time at which it was sent as its text.

Run: python -m benches.paced_neuron PORT MODEL CHUNKS
"""

import asyncio
import random
import re
import sys
import time
from collections.abc import AsyncGenerator
from typing import Any

import uvloop

from cortex.dialects.neutral import ChatEvent, Ended, TextDelta
from cortex.types import FinishReason
from tests.fakes.neuron import FakeNeuron, Script

GAP_SECONDS = (0.002, 0.005)
STAMP = re.compile(rb"@(\d+)@")


class PacedNeuron(FakeNeuron):
    """Every chunk comes 2 to 5 ms after the one before it, so that none waits behind another."""

    def __init__(self, name: str, chunks: int) -> None:
        super().__init__(name)
        self._chunks = chunks
        self._random = random.Random(1)

    async def _stream(self, script: Script, encoder: Any, events: list[ChatEvent]) -> AsyncGenerator[bytes, None]:
        yield encoder.start()
        for _ in range(self._chunks):
            await asyncio.sleep(self._random.uniform(*GAP_SECONDS))
            yield encoder.event(TextDelta(f"@{time.monotonic_ns()}@"))
        yield encoder.event(Ended(FinishReason.STOP, script.usage()))


async def serve(port: int, model: str, chunks: int) -> None:
    """Serve one loaded model until the process is ended."""
    neuron = PacedNeuron("beast", chunks)
    neuron.port = port
    neuron.put(model)
    await neuron.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
