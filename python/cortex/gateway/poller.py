"""Poller: keeps the fleet's state current, one watcher a host: its event stream, and polling where that is down.

Watchers do not wait for each other; each call has its own deadline. A watcher's round:
1. discovery, models and health: one success is up, a refused connection is down at once, silence is a miss;
2. follow the host's events until they end;
3. after a stream that ended look again at once, else pause (jittered), or until somebody pokes.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import aclosing
from typing import TypeVar

from cortex import logs
from cortex.errors import CortexError, UpstreamUnreachable
from cortex.fleet.state import Fleet, Host, Reach
from cortex.fleet.transitions import discovered, event_seen, health_seen, missed, models_seen, refused
from cortex.gateway.board import Board
from cortex.gateway.neurons import NeuronClient, NoSuchRoute
from cortex.protocol import NeuronEvent
from cortex.types import ModelState

__all__ = ["Poller"]

_log = logging.getLogger("cortex.gateway")
_SETTLED = (ModelState.LOADED, ModelState.ABSENT, ModelState.FAILED)
_SILENCE_SECONDS = 15.0
_SHORT_SECONDS = 1.0
V = TypeVar("V")


class Poller:
    """Owns the watchers; `start` and `close` once each."""

    def __init__(self, board: Board, neurons: NeuronClient, *, poll_seconds: float) -> None:
        self._board = board
        self._neurons = neurons
        self._pause_seconds = poll_seconds
        self._silence_seconds = max(_SILENCE_SECONDS, 3 * poll_seconds)
        self._pokes = {name: asyncio.Event() for name in board.fleet.hosts}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to watch all hosts at once."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._watch(name), name=f"watch {name}") for name in self._pokes]

    async def close(self) -> None:
        """Stop watching."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def unreachable(self, name: str) -> None:
        """A request was refused a connection: down at once, and looked at soon."""
        self._note(name, refused, "refuses connections")
        self._pokes[name].set()

    def poke(self, name: str) -> None:
        """Look at the host soon."""
        self._pokes[name].set()

    async def refresh(self, name: str) -> bool:
        """Look at the host now (step 1); whether it answered. All of it is noted at once, so that nobody meets a host
        whose models are not known yet, and nothing of it where the host's events have told newer things meanwhile."""
        endpoint = self._host(name).endpoint
        try:
            found = await self._neurons.discovery(endpoint)
            health = await self._neurons.health(endpoint)
            models = await self._neurons.models(endpoint)
        except UpstreamUnreachable:
            self._note(name, refused, "refuses connections")
            return False
        except CortexError as error:
            self._note(name, missed, f"does not answer: {error.message}", error)
            return False
        host = self._host(name)
        self._apply(name, discovered, found)
        if host.epoch != health.epoch or host.revision <= health.revision:
            self._board.apply(models_seen, name, models)
            self._board.apply(health_seen, name, health)
        return True

    async def _watch(self, name: str) -> None:
        while True:
            again = False
            try:
                if await self.refresh(name):  # 1.
                    again = await self._follow(name)  # 2.
            except Exception:
                _log.exception("watching %s failed", name)
            if not again:  # 3.
                await self._pause(name)

    async def _follow(self, name: str) -> bool:
        """Whether the stream lived long enough that looking again at once is no busy loop."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        events = self._neurons.events(self._host(name).endpoint, idle_seconds=self._silence_seconds)
        try:
            async with aclosing(events):
                async for event in events:
                    self._apply(name, event_seen, event)
                    await self._remeasure(name, event)
        except NoSuchRoute:
            return False
        except CortexError as error:
            logs.event(_log, logging.DEBUG, "event stream ended", neuron=name, reason=error.message)
        if loop.time() - started >= _SHORT_SECONDS:
            return True
        await self.refresh(name)
        return False

    async def _remeasure(self, name: str, event: NeuronEvent) -> None:
        """After a model came or went, ask for the free memory it left, unless the event says it."""
        if (
            event.kind in ("model", "snapshot")
            and event.health is None
            and any(one.status in _SETTLED for one in event.models)
        ):
            self._board.apply(health_seen, name, await self._neurons.health(self._host(name).endpoint))

    async def _pause(self, name: str) -> None:
        poke = self._pokes[name]
        try:
            async with asyncio.timeout(self._pause_seconds * random.uniform(0.8, 1.2)):
                await poke.wait()
        except TimeoutError:
            pass
        poke.clear()

    def _host(self, name: str) -> Host:
        return self._board.fleet.hosts[name]

    def _apply(self, name: str, change: Callable[[Fleet, str, V], Fleet], value: V) -> None:
        before = self._host(name).reach
        self._board.apply(change, name, value)
        if before is not Reach.UP:
            logs.event(_log, logging.INFO, "host is up", neuron=name, endpoint=self._host(name).endpoint)

    def _note(
        self, name: str, change: Callable[[Fleet, str], Fleet], why: str, error: CortexError | None = None
    ) -> None:
        before = self._host(name).reach
        self._board.apply(change, name)
        if self._host(name).reach is not before:
            notes = "; ".join(getattr(error, "__notes__", [])) or None
            logs.event(_log, logging.WARNING, f"host is down: it {why}", neuron=name, notes=notes)
