"""Traffic: requests of every dialect, stream and not, with faults in prompts and clients that misbehave, by a seed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.fakes.faulty_neuron import NEURON_FAULTS
from tests.fakes.raw_server import BEFORE, DURING
from tests.wire.client import Manners

__all__ = ["RAW_MODEL", "Asked", "traffic"]

RAW_MODEL = "delta"
_PATHS = {
    "/v1/chat/completions": 35,
    "/v1/messages": 25,
    "/v1/responses": 15,
    "/v1/completions": 10,
    "/v1/embeddings": 8,
    "/v1/messages/count_tokens": 7,
}
_MODELS = {RAW_MODEL: 35, "alpha": 35, "beta": 15, "gamma": 10, "no-such-model": 2, "small": 3}
_NEVER_STREAMED = ("/v1/embeddings", "/v1/messages/count_tokens")
_SILENT = ("never", "stall")  # take the whole idle time
_RAW_FAULTS = tuple(name for name in (*BEFORE, *DURING, "trickle", "cut_after_end") if name not in _SILENT)


@dataclass(frozen=True)
class Asked:
    """One request; `id` is its request id."""

    id: str
    path: str
    body: dict[str, Any]
    manners: Manners


def traffic(count: int, seed: int) -> Iterator[Asked]:
    """So many requests; the same ones for the same seed."""
    dice = random.Random(seed)
    for at in range(count):
        path = _one(dice, _PATHS)
        model = _one(dice, _MODELS)
        stream = path not in _NEVER_STREAMED and dice.random() < 0.6
        prompt = (
            f"fault:{_fault(dice, model)}"
            if dice.random() < 0.2
            else f"Question {at}: " + "why? " * dice.choice((1, 1, 400))
        )
        yield Asked(f"soak-{seed}-{at}", path, _body(path, model, prompt, stream), _manners(dice))


def _one(dice: random.Random, weights: dict[str, int]) -> str:
    return dice.choices(list(weights), list(weights.values()))[0]


def _fault(dice: random.Random, model: str) -> str:
    if model != RAW_MODEL:
        return dice.choice(NEURON_FAULTS)
    return dice.choice(_SILENT if dice.random() < 0.03 else _RAW_FAULTS)


def _manners(dice: random.Random) -> Manners:
    chance = dice.random()
    if chance < 0.08:
        return Manners(leave_after=dice.choice((0, 0, 1, 300, 800)), rude=dice.random() < 0.5)
    if chance < 0.10:
        return Manners(read_bytes=64, pause_seconds=0.01)
    return Manners()


def _body(path: str, model: str, prompt: str, stream: bool) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    streamed = {} if path in _NEVER_STREAMED else {"stream": stream}
    match path:
        case "/v1/completions":
            said: dict[str, Any] = {"prompt": prompt}
        case "/v1/responses" | "/v1/embeddings":
            said = {"input": prompt}
        case "/v1/messages":
            said = {"messages": messages, "max_tokens": 64}
        case _:
            said = {"messages": messages}
    return {"model": model, **said, **streamed}
