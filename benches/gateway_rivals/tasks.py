"""Tasks: what is measured of one gateway in one round, each as named figures."""

import asyncio
import statistics
from collections.abc import Awaitable, Callable, Iterable
from itertools import pairwise

from benches.gateway_rivals.load import BIG_BYTES, Load, Wire, asked
from benches.gateway_rivals.process import Running

__all__ = ["TASKS", "Figures", "many_streams", "resident_with_idle_clients"]

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
Figures = dict[str, float]
Task = Callable[[int, Running | None], Awaitable[Figures]]
_PACE = 50


def p99(values: Iterable[float]) -> float:
    """The 99th percentile."""
    return statistics.quantiles(values, n=100)[98]


def _raw(running: Running | None, path: str = CHAT, **more: object) -> bytes:
    if running is None:
        return asked(path, "mock", {}, **more)  # type: ignore[arg-type]
    return asked(path, running.contestant.model, running.contestant.headers, **more)  # type: ignore[arg-type]


async def _loaded(port: int, running: Running | None, raw: bytes, clients: int, requests: int) -> tuple[Load, float]:
    """The load, and the CPU seconds that it cost the gateway."""
    before = running.cpu_seconds() if running else 0.0
    load = await Load(port).run(raw, clients=clients, requests=requests)
    return load, (running.cpu_seconds() - before) if running else 0.0


def _whole(size: int, clients: int, requests: int) -> Task:
    async def task(port: int, running: Running | None) -> Figures:
        count = max(clients, round(requests * running.contestant.share)) if running else requests
        load, cpu = await _loaded(port, running, _raw(running, size=size), clients, count)
        return {
            "p50_ms": statistics.median(load.seconds) * 1e3,
            "per_s": count / load.wall,
            "cpu_us": cpu / count * 1e6,
        }

    return task


def _streamed(path: str, size: int, clients: int, streams: int, chunks: int) -> Task:
    """Chunks come `_PACE` a second on each stream, so that none waits for another."""

    async def task(port: int, running: Running | None) -> Figures:
        raw = _raw(running, path, size=size, stream=True, max_tokens=chunks, pace=_PACE)
        load, cpu = await _loaded(port, running, raw, clients, streams)
        delays = [(at - sent) / 1e6 for arrivals in load.arrivals for sent, at in arrivals]
        if len(delays) != streams * chunks:
            raise RuntimeError(f"{len(delays)} of {streams * chunks} chunks came")
        return {"p50_ms": statistics.median(delays), "p99_ms": p99(delays), "cpu_us": cpu / len(delays) * 1e6}

    return task


# Name, whether the gateway must translate for it, and the task.
TASKS: dict[str, tuple[bool, Task]] = {
    "small, c=1": (False, _whole(0, 1, 300)),
    "small, c=32": (False, _whole(0, 32, 1280)),
    "87 KB, c=1": (False, _whole(BIG_BYTES, 1, 60)),
    "87 KB, c=32": (False, _whole(BIG_BYTES, 32, 256)),
    "stream, c=1": (False, _streamed(CHAT, 0, 1, 1, 60)),
    "stream, c=32": (False, _streamed(CHAT, 0, 32, 32, 60)),
    "stream, 87 KB, c=32": (False, _streamed(CHAT, BIG_BYTES, 32, 32, 60)),
    "translated stream, c=32": (True, _streamed(MESSAGES, 0, 32, 32, 60)),
}


async def many_streams(port: int, running: Running | None, streams: int = 500, pace: int = 40) -> Figures:
    """All at once: gaps between chunks of a stream as they arrived, less those as they were sent."""
    chunks = pace * 5
    raw = _raw(running, stream=True, max_tokens=chunks, pace=pace)
    load, cpu = await _loaded(port, running, raw, streams, streams)
    came = sum(map(len, load.arrivals))
    if came != streams * chunks:
        raise RuntimeError(f"{came} of {streams * chunks} chunks came")
    delays = [(at - sent) / 1e6 for arrivals in load.arrivals for sent, at in arrivals]
    gaps = [(b[1] - a[1] - (b[0] - a[0])) / 1e6 for arrivals in load.arrivals for a, b in pairwise(arrivals)]
    return {
        "gap_p99_ms": p99(gaps),
        "delay_p50_ms": statistics.median(delays),
        "delay_p99_ms": p99(delays),
        "cpu_us": cpu / came * 1e6,
    }


async def resident_with_idle_clients(running: Running, clients: int = 1000) -> int:
    """Bytes while so many clients that were answered once keep their connections."""
    loop = asyncio.get_running_loop()
    wires = [(await loop.create_connection(Wire, "127.0.0.1", running.contestant.port))[1] for _ in range(clients)]
    raw = _raw(running)
    for at in range(0, clients, 20):
        await asyncio.gather(*(wire.ask(raw) for wire in wires[at : at + 20]))
    resident = running.resident_bytes()
    for wire in wires:
        wire.close()
    return resident
