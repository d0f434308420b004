"""A scripted neuron as a process of its own, whose prompts name the fault (`fault:cut`), and whose loads take a while.

Run: python -m tests.fakes.faulty_neuron NAME PORT [--sizes MB] [LOADED ...]
"""

import argparse
import asyncio
import time
from dataclasses import replace
from typing import Any

import uvloop

from cortex.errors import EngineFailed, QueueFull
from cortex.http import Request, Response
from cortex.protocol import ModelEntry
from cortex.types import ModelState
from tests.fakes.neuron import FakeNeuron, Script
from tests.fakes.raw_server import FAULT

__all__ = ["NEURON_FAULTS"]

LOAD_SECONDS = 0.15
_SLOW_PIECES = ("word ",) * 40
_SLOW_SECONDS = 0.025
_OPEN = asyncio.Event()
_SCRIPTS = {
    "": Script(),
    "cut": Script(cut_at=2),
    "cut_first": Script(cut_at=0),
    "fail": Script(fail_at=2),
    "full": Script(refuse=QueueFull("full")),
    "broken": Script(refuse=EngineFailed("secret detail")),
    "html": Script(nonsense=b"<html>"),
    "slow": Script(pieces=_SLOW_PIECES, gate_at=-1),
    "stuck": Script(gate_at=1, gate=_OPEN),
}
NEURON_FAULTS = tuple(name for name in _SCRIPTS if name not in ("", "stuck"))


class FaultyNeuron(FakeNeuron):
    """Chooses the script of each request by its prompt. `slow` takes a second, `stuck` never comes to its end."""

    async def _admit(self, request: Request, model: str) -> Script:
        await super()._admit(request, model)
        self.bodies.clear()
        self.headers.clear()
        found = FAULT.search(request.body)
        return _SCRIPTS.get(found[1].decode() if found else "", _SCRIPTS[""])

    def _entry(self, model: str, status: ModelState, **more: Any) -> ModelEntry:
        loaded_at = time.time() if status is ModelState.LOADED else None
        return super()._entry(model, status, **{"loaded_at": loaded_at, **more})

    async def _run(self, script: Script, at: int | None) -> None:
        if script.gate_at == -1:
            await asyncio.sleep(_SLOW_SECONDS if at is not None else _SLOW_SECONDS * len(script.pieces))
            script = replace(script, gate_at=None)
        await super()._run(script, at)

    async def _load(self, request: Request) -> Response:
        self.load_gate = asyncio.Event()
        asyncio.get_running_loop().call_later(LOAD_SECONDS, self.load_gate.set)
        return await super()._load(request)


async def serve(options: argparse.Namespace) -> None:
    """Serve until the process is ended."""
    neuron = FaultyNeuron(options.name, sizes=dict.fromkeys(("alpha", "beta", "gamma"), options.sizes))
    neuron.port = options.port
    for model in options.loaded:
        neuron.put(model)
    await neuron.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("port", type=int)
    parser.add_argument("loaded", nargs="*")
    parser.add_argument("--sizes", type=int, default=40, help="MB of each model; the host has 100")
    uvloop.run(serve(parser.parse_args()))
