"""Idle: unloads models that nobody asked for during their time to live; the policy says which, the host has the last
word."""

import logging
import time
from collections.abc import Awaitable, Callable

from cortex import logs
from cortex.errors import CortexError
from cortex.fleet.eviction import Policy, idle_too_long
from cortex.gateway.board import Board
from cortex.gateway.metrics import Metrics
from cortex.gateway.neurons import NeuronClient
from cortex.periodic import Periodic
from cortex.protocol import UnloadRequest

__all__ = ["IdleUnloader"]

_log = logging.getLogger("cortex.gateway")
_LOOK_SECONDS = 2.0


class IdleUnloader:
    """`policy` gives the one in force. `start` and `close` once each."""

    def __init__(
        self,
        board: Board,
        policy: Callable[[], Policy],
        neurons: NeuronClient,
        metrics: Metrics,
        refresh: Callable[[str], Awaitable[bool]],
        *,
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        self._board = board
        self._policy = policy
        self._neurons = neurons
        self._metrics = metrics
        self._refresh = refresh
        self._looks = Periodic("unload idle models", self.look, every_seconds=look_seconds)

    def start(self) -> None:
        """Begin to look."""
        self._looks.start()

    async def close(self) -> None:
        """Stop."""
        await self._looks.close()

    async def look(self) -> None:
        """Unload what is idle now."""
        for host, model in idle_too_long(self._board.fleet, self._policy(), now=time.time()):
            await self._unload(host, model)

    async def _unload(self, name: str, model: str) -> None:
        """By revision, and without waiting for requests: whoever came meanwhile keeps the model."""
        host = self._board.fleet.hosts.get(name)
        if host is None:  # taken out of the configuration meanwhile
            return
        order = UnloadRequest(model_id=model, drain_seconds=0.0, epoch=host.epoch, revision=host.revision)
        try:
            await self._neurons.unload(host.endpoint, order)
        except CortexError as error:
            logs.event(_log, logging.DEBUG, "not unloaded", model=model, neuron=name, reason=error.message)
        else:
            self._metrics.evicted(model, name, reason="idle")
            logs.event(_log, logging.INFO, "unloaded, idle", model=model, neuron=name)
        await self._refresh(name)
