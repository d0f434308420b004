"""Defrag: after many loads a host's process begins anew: drained, restarted, met again, and back to its duty."""

import asyncio
import logging

from cortex import logs
from cortex.errors import CortexError
from cortex.fleet.membership import duty_given
from cortex.fleet.state import Duty, Fleet
from cortex.gateway.board import Board
from cortex.gateway.neurons import NeuronClient, NoSuchRoute

__all__ = ["Defrag"]

_log = logging.getLogger("cortex.gateway")
_DRAIN_SECONDS = 600.0
_BACK_SECONDS = 300.0


class Defrag:
    """Counts the load cycles of each host and restarts its process after `after` of them (0 = never; may be replaced).
    One host at a time, so that the others serve."""

    def __init__(self, board: Board, neurons: NeuronClient, *, after: int) -> None:
        self._board = board
        self._neurons = neurons
        self.after = after
        self._cycles: dict[str, int] = {}
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def count(self, host: str) -> None:
        """A model was loaded there."""
        self._cycles[host] = self._cycles.get(host, 0) + 1
        if not self.after or self._cycles[host] < self.after:
            return
        logs.event(_log, logging.INFO, "many loads, beginning anew", neuron=host, cycles=self._cycles.pop(host))
        task = asyncio.get_running_loop().create_task(self._run(host), name=f"defrag {host}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Leave hosts as they are."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _run(self, name: str) -> None:
        async with self._turn:
            host = self._board.fleet.hosts.get(name)
            if host is None or host.duty is not Duty.ACTIVE:  # an operator has it in hand
                return
            self._board.apply(duty_given, name, Duty.RESTARTING)
            try:
                await self._restart(name, host.endpoint, host.epoch)
            except NoSuchRoute:
                message = "many loads, and the host cannot restart itself; do so if large models stop fitting"
                logs.event(_log, logging.WARNING, message, neuron=name)
            except (CortexError, TimeoutError) as error:
                logs.event(_log, logging.WARNING, "restart failed", neuron=name, reason=str(error) or "no sign in time")
            else:
                logs.event(_log, logging.INFO, "restarted", neuron=name)
            finally:
                there = self._board.fleet.hosts.get(name)
                if there is not None and there.duty is Duty.RESTARTING:
                    self._board.apply(duty_given, name, Duty.ACTIVE)

    async def _restart(self, name: str, endpoint: str, epoch: str | None) -> None:
        """1. Drain. 2. Restart. 3. See the new process up."""
        async with asyncio.timeout(_DRAIN_SECONDS):  # 1.
            await self._board.until(lambda fleet: not _busy(fleet, name))
        await self._neurons.restart(endpoint)  # 2.
        async with asyncio.timeout(_BACK_SECONDS):  # 3.
            await self._board.until(lambda fleet: _anew(fleet, name, epoch))


def _busy(fleet: Fleet, name: str) -> bool:
    host = fleet.hosts.get(name)
    return host is not None and (any(host.leases.values()) or any(job.host == name for job in fleet.jobs.values()))


def _anew(fleet: Fleet, name: str, epoch: str | None) -> bool:
    host = fleet.hosts.get(name)
    return host is None or (host.epoch not in (None, epoch) and host.status == "ok")
