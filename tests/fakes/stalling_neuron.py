"""A host daemon as a process of its own, all of it real but the engine, whose thread stands still or dies in an answer.

Run: python -m tests.fakes.stalling_neuron PORT stall|die|work
"""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop

from cortex.config import NeuronConfig
from cortex.config.neuron import CandleConfig, HarnessConfig
from cortex.engine import EngineSampling
from cortex.neuron.app import Neuron
from cortex.neuron.engines import LoadPlan
from cortex.neuron.progress import Progress
from tests.fakes.engine import Event, FakeDevices, FakeEngine, FakeEngines, Script, Stats, Template

STUCK_SECONDS = 0.5
MEMORY_MB, MODEL_MB = 100, 60


class BadEngine(FakeEngine):
    """Proves itself, and then `way` says what becomes of its first answer of several tokens."""

    def __init__(self, facts: Any, script: Script, template: Template, way: str) -> None:
        super().__init__(facts, script, template)
        self.way = way
        self.since: float | None = None

    async def generate(self, prompt: Any, sampling: EngineSampling) -> AsyncGenerator[Event, None]:
        if sampling.max_tokens > 1 and self.way == "stall":
            self.since = time.monotonic()
        if sampling.max_tokens > 1 and self.way == "die":
            self.state.failed = "panic: index out of bounds"
        async for event in super().generate(prompt, sampling):
            yield event

    def stats(self) -> Stats:
        age = 0.0 if self.since is None else time.monotonic() - self.since
        return replace(self.state, last_step_age_seconds=age)


class BadEngines(FakeEngines):
    """Whatever the file says, it makes such engines."""

    def __init__(self, way: str) -> None:
        super().__init__(sizes={"starter": MODEL_MB})
        self.way = way
        if way != "work":
            fault = {"gate_at": 1} if way == "stall" else {"fail_at": 1}
            self.scripts["starter"] = Script(**fault)

    async def load(self, plan: LoadPlan, progress: Progress) -> FakeEngine:
        made = await super().load(plan, progress)
        return BadEngine(made.facts, made.script, Template(), self.way)


async def serve(port: int, way: str) -> None:
    """Serve until the process is ended."""
    candle = CandleConfig(stuck_secs=STUCK_SECONDS)
    config = NeuronConfig(host="127.0.0.1", port=port, harness=HarnessConfig(candle=candle))
    environ = {"HOME": str(Path.cwd()), "HF_HUB_OFFLINE": "1"}
    neuron = Neuron(config, environ, engines=BadEngines(way), devices=FakeDevices(MEMORY_MB))
    await neuron.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2]))
