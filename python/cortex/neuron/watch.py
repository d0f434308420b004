"""Watch: looks after this host once a second: memory, rates, and engines that have failed."""

import asyncio
import logging

from cortex.neuron.models import Models
from cortex.neuron.status import Status
from cortex.neuron.unloads import Unloads
from cortex.types import ModelState

__all__ = ["Watch"]

_log = logging.getLogger("cortex.neuron")


class Watch:
    """`start` and `close` once each."""

    def __init__(self, status: Status, models: Models, unloads: Unloads, *, every_seconds: float = 1.0) -> None:
        self._status = status
        self._models = models
        self._unloads = unloads
        self._every = every_seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="watch")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.look()
            except Exception:
                _log.exception("watching this host failed")

    async def look(self) -> None:
        """One look: what failed is taken off, and its memory with it."""
        for model in self._models:
            if model.state is ModelState.LOADED and model.serving is not None:
                reason = model.serving.engine.stats().failed
                if reason is not None:
                    await self._unloads.engine_failed(model, reason)
        await self._status.refresh()
        self._status.update_rates()
