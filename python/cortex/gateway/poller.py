"""Poller: keeps the fleet's state current, one watcher a host: its event stream, and polling where that is down.

Watchers do not wait for each other; each call has its own deadline. A watcher's round:
1. discovery, models and health: one success is up, a refused connection is down at once, silence is a miss;
2. follow the host's events until they end (a server that is not ours has none);
3. after a stream that ended look again at once, else pause (jittered), or until somebody pokes.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import NamedTuple, Protocol, TypeVar

from cortex import logs
from cortex.errors import CortexError, UpstreamLost, UpstreamUnreachable
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


class _Loss(Protocol):
    """How the fleet changes when a host does not answer."""

    def __call__(self, fleet: Fleet, name: str, *, now: float) -> Fleet: ...


class _Watcher(NamedTuple):
    host: Host
    poke: asyncio.Event
    task: asyncio.Task[None]


class Poller:
    """Owns the watchers; `start` and `close` once each. `pause_seconds` may be replaced while it runs.

    `on_silent` hears of a neuron that is down because it does not answer: its connections are open, and nothing comes.
    """

    def __init__(
        self, board: Board, neurons: NeuronClient, poll_seconds: float, *, on_silent: Callable[[str], None]
    ) -> None:
        self._board = board
        self._neurons = neurons
        self._on_silent = on_silent
        self.pause_seconds = poll_seconds
        self._watchers: dict[str, _Watcher] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to watch all hosts at once."""
        self.follow_hosts()

    def follow_hosts(self) -> None:
        """Watch the hosts that the fleet has now: a new or moved one from now on, one that left no more."""
        hosts = self._board.fleet.hosts
        for name, watcher in list(self._watchers.items()):
            if name not in hosts or not hosts[name].same_peer(watcher.host):
                self._end(self._watchers.pop(name).task)
        for name, host in hosts.items():
            if name not in self._watchers:
                task = asyncio.get_running_loop().create_task(self._watch(name), name=f"watch {name}")
                self._watchers[name] = _Watcher(host, asyncio.Event(), task)

    async def close(self) -> None:
        """Stop watching."""
        for watcher in self._watchers.values():
            self._end(watcher.task)
        if self._ending:
            await asyncio.wait(self._ending)

    def _end(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def unreachable(self, name: str) -> None:
        """A request was refused a connection: down at once, and looked at soon."""
        if name in self._board.fleet.hosts:
            self._note(name, refused, "refuses connections")
            self.poke(name)

    def poke(self, name: str) -> None:
        """Look at the host soon, if it is still one of ours."""
        if name in self._watchers:
            self._watchers[name].poke.set()

    async def refresh(self, name: str) -> bool:
        """Look at the host now (step 1); whether it is one of ours and answered. All of it is noted at once, so that
        nobody meets a host whose models are not known yet, and nothing of it where the host's events have told newer
        things meanwhile."""
        if name not in self._board.fleet.hosts:
            return False
        asked = self._host(name)
        try:
            return await (self._ask(asked) if asked.ours else self._ask_server(asked))
        except CortexError as error:
            self._no_answer(asked, error)
            return False

    async def _ask(self, asked: Host) -> bool:
        name, endpoint = asked.name, asked.endpoint
        found = await self._neurons.discovery(endpoint)
        health = await self._neurons.health(endpoint)
        models = await self._neurons.models(endpoint)
        host = self._still(asked)
        if host is None:
            return False
        self._apply(name, discovered, found)
        if host.epoch != health.epoch or host.revision <= health.revision:
            self._board.apply(models_seen, name, models)
            self._board.apply(health_seen, name, health)
        return True

    async def _ask_server(self, asked: Host) -> bool:
        """A server that is not ours only says what it serves."""
        models = await self._neurons.served(asked.endpoint, asked.only)
        if self._still(asked) is None:
            return False
        self._apply(asked.name, models_seen, models)
        return True

    def _still(self, asked: Host) -> Host | None:
        """The host, unless it left the configuration meanwhile, or is another one by now."""
        host = self._board.fleet.hosts.get(asked.name)
        return host if host is not None and host.same_peer(asked) else None

    def _no_answer(self, asked: Host, error: CortexError) -> None:
        name = asked.name
        if self._still(asked) is None:
            return
        if isinstance(error, UpstreamUnreachable):
            self._note(name, refused, "refuses connections")
        else:
            self._note(name, missed, f"does not answer: {error.message}", error)
            if asked.ours and isinstance(error, UpstreamLost) and self._host(name).reach is Reach.DOWN:
                self._on_silent(name)

    async def _watch(self, name: str) -> None:
        while True:
            again = False
            try:
                if await self.refresh(name) and self._host(name).ours:  # 1.
                    again = await self._follow(name)  # 2.
            except Exception:
                _log.exception("watching %s failed", name)
            if not again:  # 3.
                await self._pause(name)

    async def _follow(self, name: str) -> bool:
        """Whether the stream lived long enough that looking again at once is no busy loop."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        events = self._neurons.events(
            self._host(name).endpoint, idle_seconds=max(_SILENCE_SECONDS, 3 * self.pause_seconds)
        )
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
        poke = self._watchers[name].poke
        try:
            async with asyncio.timeout(self.pause_seconds * random.uniform(0.8, 1.2)):
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

    def _note(self, name: str, change: _Loss, why: str, error: CortexError | None = None) -> None:
        before = self._host(name).reach
        self._board.apply(change, name, now=time.time())
        if self._host(name).reach is not before:
            notes = "; ".join(getattr(error, "__notes__", [])) or None
            logs.event(_log, logging.WARNING, f"host is down: it {why}", neuron=name, notes=notes)
