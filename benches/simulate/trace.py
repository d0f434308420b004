"""What happens to the simulated fleet: hosts, models, requests, bursts, deaths; from a seed, or read from a file."""

import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Arrival", "Scene", "arrivals", "read_arrivals"]

GIB = 1 << 30


@dataclass(frozen=True)
class Scene:
    """Times are seconds, rates are a second. `skew` is the exponent of Zipf: how much more the first are asked for."""

    seed: int = 1
    hosts: int = 20
    models: int = 60
    seconds: float = 600.0
    rate: float = 5.0
    skew: float = 1.0
    deaths: float = 0.0
    bursts: float = 0.0
    load_failures: float = 0.02
    news_delay: float = 0.02
    places: int = 16

    def random(self, what: str) -> random.Random:
        """Chance for one purpose, so that one part does not shift another."""
        return random.Random(f"{self.seed} {what}")

    def host_bytes(self) -> list[int]:
        """Memory of each host: one to four devices' worth of today's cards, as one device."""
        dice = self.random("hosts")
        return [dice.choice((16, 24, 24, 32, 48, 80, 96)) * GIB for _ in range(self.hosts)]

    def model_bytes(self) -> list[int]:
        """Size of each model: many small ones, a few large ones."""
        dice = self.random("models")
        return [int(min(max(dice.lognormvariate(1.8, 0.8), 0.5), 78) * GIB) for _ in range(self.models)]


@dataclass(frozen=True)
class Arrival:
    """A request for the model of that number, which takes so long once it runs."""

    at: float
    model: int
    seconds: float


def arrivals(scene: Scene) -> Iterator[Arrival]:
    """Poisson arrivals over Zipf's models; a burst asks thirty times for one model within a second."""
    dice = scene.random("arrivals")
    weights = [1.0 / (rank + 1) ** scene.skew for rank in range(scene.models)]
    cumulative = list(itertools.accumulate(weights))
    now, next_burst = 0.0, dice.expovariate(scene.bursts) if scene.bursts else float("inf")
    while (now := now + dice.expovariate(scene.rate)) < scene.seconds:
        while next_burst <= now:
            hot = dice.randrange(scene.models)
            yield from (Arrival(next_burst + index / 30, hot, _duration(dice)) for index in range(30))
            next_burst += dice.expovariate(scene.bursts)
        yield Arrival(now, dice.choices(range(scene.models), cum_weights=cumulative)[0], _duration(dice))


def read_arrivals(path: Path) -> Iterator[Arrival]:
    """Lines of JSON: {"at": seconds, "model": number, "seconds": duration}."""
    with path.open() as lines:
        for line in lines:
            yield Arrival(**json.loads(line))


def _duration(dice: random.Random) -> float:
    return min(dice.lognormvariate(0.7, 1.0), 120.0)
