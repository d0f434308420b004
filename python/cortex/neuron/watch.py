"""Watch: looks after this host once a second: memory, rates, and engines that have failed or make no steps."""

from cortex.neuron.models import Models
from cortex.neuron.status import Status
from cortex.neuron.unloads import Unloads
from cortex.periodic import Periodic
from cortex.types import ModelState

__all__ = ["Watch"]


class Watch:
    """`start` and `close` once each. An engine with work and no step for `stuck_seconds` is given up."""

    def __init__(
        self, status: Status, models: Models, unloads: Unloads, *, stuck_seconds: float, every_seconds: float = 1.0
    ) -> None:
        self._status = status
        self._models = models
        self._unloads = unloads
        self._stuck = stuck_seconds
        self._looks = Periodic("watching this host", self.look, every_seconds=every_seconds)

    def start(self) -> None:
        """Begin."""
        self._looks.start()

    async def close(self) -> None:
        """Stop."""
        await self._looks.close()

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
