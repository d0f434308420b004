"""Watch: looks after this host once a second: memory, rates, and engines that have failed or make no steps."""

import asyncio
import logging

from cortex.neuron.models import Models
from cortex.neuron.status import Status
from cortex.neuron.unloads import Unloads
from cortex.types import ModelState

__all__ = ["Watch"]

_log = logging.getLogger("cortex.neuron")


class Watch:
    """`start` and `close` once each. An engine with work and no step for `stuck_seconds` is given up."""

    def __init__(
        self, status: Status, models: Models, unloads: Unloads, *, stuck_seconds: float, every_seconds: float = 1.0
    ) -> None:
        self._status = status
        self._models = models
        self._unloads = unloads
        self._stuck = stuck_seconds
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
                stats = model.serving.engine.stats()
                if stats.failed is not None:
                    await self._unloads.engine_failed(model, stats.failed)
                elif stats.last_step_age_seconds > self._stuck:
                    reason = f"no step for {stats.last_step_age_seconds:.0f} s."
                    self._unloads.engine_stuck(model, reason)
        await self._status.refresh()
        self._status.update_rates()
