"""Run: sends the traffic through a real gateway process while chaos is at work, and checks what is left afterwards."""

import asyncio
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from benches.soak.books import Books, Level, level, unlike
from benches.soak.chaos import Chaos
from benches.soak.traffic import RAW_MODEL, Asked, traffic
from tests.e2e.cluster import Cluster
from tests.e2e.daemons import get_json
from tests.wire.client import exchange
from tests.wire.endings import Ending, Verdict, judged

__all__ = ["Report", "soak"]

CLIENTS = 32
_MIB = 1 << 20
_GROWTH_BYTES = 32 * _MIB
_POOL = 64  # connections to hosts that are kept for a while
_SETTINGS = "idle_timeout_secs = 2\nload_wait_secs = 15\ndrain_secs = 1\nkeep_alive_secs = 0.5"
_ACTS_EVERY = 40  # requests
# The share of the requests in each part, and what happens to the gateway in its middle.
_PARTS = (("restart", 0.15), ("kill", 0.15), ("warm", 0.15), ("long", 0.55))


class Report(NamedTuple):
    """What came out; `wrong` is empty when all is well."""

    books: Books
    chaos: Chaos
    seconds: float
    before: Level
    after: Level
    wrong: list[str]


def soak(folder: Path, *, requests: int, seed: int) -> Report:
    """Two scripted neurons, of which each holds two of three models, and two servers over bare sockets."""
    with Cluster(folder) as cluster:
        for name in ("beast", "quadbrat"):
            cluster.scripted(name)
        for name in ("cloud", "other"):
            cluster.raw(name, RAW_MODEL)
        models = "".join(f'[[models]]\nid = "{name}"\nvram_mb = 40\n' for name in ("alpha", "beta", "gamma"))
        cluster.models = f'{models}[aliases]\n"small" = "alpha"\n'
        cluster.configure(_SETTINGS, "[responses]\nstore = true\nmax_entries = 200\n")
        cluster.start_gateway()
        return asyncio.run(_Soak(cluster, requests, seed).run())


class _Soak:
    def __init__(self, cluster: Cluster, requests: int, seed: int) -> None:
        self._cluster = cluster
        self._requests = requests
        self._traffic = traffic(requests, seed)
        self._chaos = Chaos(cluster, seed)
        self._books = Books()
        self._last_start = 0

    async def run(self) -> Report:
        started = time.monotonic()
        before, since = await asyncio.to_thread(level, self._cluster), 0
        for part, share in _PARTS:
            await self._part(part, round(share * self._requests))
            if part == "kill":
                since = self._last_start
            if part == "warm":
                before = await asyncio.to_thread(level, self._cluster)
        await self._part("rest", self._requests)
        after = await asyncio.to_thread(level, self._cluster)
        wrong = [
            *map(self._with_its_log, self._books.faults),
            *self._books.compare(self._cluster),
            *unlike(self._cluster, since),
        ]
        wrong += _leaks(self._cluster, before, after)
        return Report(self._books, self._chaos, time.monotonic() - started, before, after, wrong)

    def _with_its_log(self, fault: str) -> str:
        """The fault, with what the gateway said of the request."""
        id_ = fault.split(" ", 1)[0]
        said = [line for line in self._cluster.gateway.output().splitlines() if id_ in line]
        return "\n    ".join([fault, *said])

    async def _part(self, part: str, count: int) -> None:
        """Clients take from one heap; what shall happen happens by the number of requests taken."""
        todo = list(islice(self._traffic, count))
        heap = iter(enumerate(todo))
        async with asyncio.TaskGroup() as acts, asyncio.TaskGroup() as clients:
            for _ in range(min(CLIENTS, len(todo))):
                clients.create_task(self._client(heap, part, len(todo) // 2, acts))
        await asyncio.to_thread(self._cluster.until, self._all_up, "all hosts up")

    async def _client(self, heap: Iterator[tuple[int, Asked]], part: str, middle: int, acts: asyncio.TaskGroup) -> None:
        for number, asked in heap:
            if number == middle and part in ("restart", "kill"):
                acts.create_task(self._change_gateway(part))
            elif number % _ACTS_EVERY == _ACTS_EVERY - 1:
                acts.create_task(self._chaos.something())
            await self._ask(asked)

    async def _change_gateway(self, how: str) -> None:
        await (self._chaos.restart_gateway() if how == "restart" else self._chaos.kill_gateway())
        self._last_start = self._cluster.ledger_bytes_at_start

    async def _ask(self, asked: Asked) -> None:
        """Until the gateway takes it in: whoever comes between two gateways asks again, under another id."""
        for attempt in range(2000):
            id_ = f"{asked.id}-{attempt}"
            verdict = await self._once(asked, id_)
            if verdict is not None:
                self._books.enter(id_, asked, verdict)
                return
            await asyncio.sleep(0.02)
        self._books.faults.append(f"{asked.id}: nobody listened")

    async def _once(self, asked: Asked, id_: str) -> Verdict | None:
        kills, ends = self._chaos.kills, self._chaos.ends
        between = self._chaos.changing
        try:
            headers = {"x-request-id": id_}
            answer = await exchange(self._cluster.api, asked.path, asked.body, headers=headers, manners=asked.manners)
        except ConnectionRefusedError:
            return None
        except AssertionError as error:
            self._books.faults.append(f"{id_} {asked}: {error}")
            return Ending.CUT, "no HTTP"
        except TimeoutError:
            self._books.faults.append(f"{id_} {asked.path}: no ending within a minute")
            return Ending.CUT, "hang"
        try:
            verdict = judged(asked.path, asked.body, answer)
        except (AssertionError, KeyError, ValueError, TypeError) as error:
            self._books.faults.append(f"{id_} {asked.path}: {error!r} {answer.body[-300:]!r}")
            return Ending.CUT, "malformed"
        if verdict[0] is Ending.CUT:
            changed = between or self._chaos.ends > ends
            if changed and not any(line.get("request_id") == id_ for line in self._cluster.lines()):
                return None  # it was in the queue of a listener that closed
            if self._chaos.kills == kills:
                self._books.faults.append(f"{id_} {asked.path}: broken off without a word: {answer}")
        return verdict

    def _all_up(self) -> bool:
        return all(host["health"] == "up" for host in self._cluster.fleet().values())


def _leaks(cluster: Cluster, before: Level, after: Level) -> list[str]:
    found = []
    if after.resident_bytes - before.resident_bytes > _GROWTH_BYTES:
        found.append(f"memory grew from {before.resident_bytes // _MIB} to {after.resident_bytes // _MIB} MiB")
    if after.open_files > before.open_files + _POOL:
        found.append(f"open files grew from {before.open_files} to {after.open_files}")
    if after.tasks != before.tasks:
        found.append(f"tasks went from {before.tasks} to {after.tasks}")
    if jobs := get_json(f"{cluster.base}/api/fleet")["loads"]:
        found.append(f"loads are still under way: {jobs}")
    if "Traceback" in (said := cluster.gateway.output()):
        found.append(said[said.index("Traceback") - 300 :][:3000])
    return found
