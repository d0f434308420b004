"""Periodic: work that is done again and again, whatever goes wrong once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

__all__ = ["Periodic"]

_log = logging.getLogger("cortex")


class Periodic:
    """Does `work` every so many seconds in a task of its own; what it raises is logged. `start` and `close` once
    each."""

    def __init__(self, name: str, work: Callable[[], Awaitable[None]], *, every_seconds: float) -> None:
        self._name = name
        self._work = work
        self._every = every_seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; the first time comes after the first pause."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=self._name)

    async def close(self) -> None:
        """Stop, also in the middle of the work."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                await self._work()
            except Exception:
                _log.exception("%s failed", self._name)
