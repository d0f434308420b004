"""Chaos: what is done to the processes meanwhile: kills, stops, restarts, files that change."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable

from tests.e2e.cluster import Cluster

__all__ = ["Chaos"]


class Chaos:
    """Acts on one cluster. `kills` counts how often the gateway was killed, `ends` how often it was told to end: what
    was under way at a kill may break off, and who came between two gateways asks again."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._cluster = cluster
        self._dice = random.Random(seed)
        self._busy: set[str] = set()
        self._reloads = 0
        self.changing = False
        self.kills = 0
        self.ends = 0
        self.done: Counter[str] = Counter()

    async def something(self) -> None:
        """One random fault of a host or of a file, on a host that has none at the moment."""
        acts: dict[str, Callable[[str], Awaitable[None]]] = {
            "kill a host": self._kill,
            "stop a host": self._stop,
            "end a host": self._end,
        }
        name = self._dice.choice(list(self._cluster.hosts))
        if self._dice.random() < 0.2:
            if not self.changing:
                self._reload()
        elif name not in self._busy:
            act = self._dice.choice(list(acts))
            self.done[act] += 1
            self._busy.add(name)
            try:
                await acts[act](name)
            finally:
                self._busy.discard(name)

    async def restart_gateway(self) -> None:
        """Told to end, and started anew."""
        self.ends += 1
        self.changing = True
        self.done["restart the gateway"] += 1
        assert await asyncio.to_thread(self._cluster.gateway.stop) == 0
        await self._start_gateway()

    async def kill_gateway(self) -> None:
        """SIGKILL, and started anew."""
        self.kills += 1
        self.ends += 1
        self.changing = True
        self.done["kill the gateway"] += 1
        await asyncio.to_thread(self._cluster.gateway.kill)
        await self._start_gateway()

    async def _start_gateway(self) -> None:
        self._write_models("")  # on a broken file it would not start
        await asyncio.to_thread(self._cluster.start_gateway, all_hosts=False)
        self.changing = False

    async def _kill(self, name: str) -> None:
        await asyncio.to_thread(self._cluster.daemons[name].kill)
        await asyncio.sleep(self._dice.uniform(0.0, 0.5))
        await asyncio.to_thread(self._cluster.start, name)

    async def _end(self, name: str) -> None:
        self._cluster.daemons[name].process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(self._cluster.daemons[name].process.wait, 20)
        await asyncio.to_thread(self._cluster.start, name)

    async def _stop(self, name: str) -> None:
        self._cluster.freeze(name)
        try:
            await asyncio.sleep(self._dice.choice((0.1, 0.5, 3.0)))
        finally:
            self._cluster.thaw(name)

    def _reload(self) -> None:
        """Every other time the file is broken: then the old one stays in force."""
        self._reloads += 1
        wrong = self._reloads % 2 == 0
        self.done["break a file" if wrong else "change a file"] += 1
        self._write_models("nonsense = [" if wrong else f'"alias-{self._reloads}" = "alpha"\n')
        self._cluster.gateway.process.send_signal(signal.SIGHUP)

    def _write_models(self, more: str) -> None:
        """The catalogue with more in the end, at one go."""
        models = self._cluster.folder / "models.toml"
        fresh = models.with_suffix(".new")
        fresh.write_text(self._cluster.models + more)
        fresh.replace(models)
