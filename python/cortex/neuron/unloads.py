"""Unloads: take a model off this host once nobody uses it, and off at once when its engine has failed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from cortex import logs
from cortex.errors import EngineFailed, ModelBusy
from cortex.neuron.memory import Ledger
from cortex.neuron.metrics import Metrics
from cortex.neuron.models import Model, Models, Serving
from cortex.types import ModelState

__all__ = ["Unloads"]

_log = logging.getLogger("cortex.neuron")


class Unloads:
    """`refresh` measures the devices anew, so that memory is shown as free only when it is."""

    def __init__(
        self, *, models: Models, ledger: Ledger, metrics: Metrics, refresh: Callable[[], Awaitable[None]]
    ) -> None:
        self._models = models
        self.ledger = ledger
        self._metrics = metrics
        self.refresh = refresh
        self._tasks: set[asyncio.Task[ModelBusy | None]] = set()
        self._stranded: set[asyncio.Task[None]] = set()

    async def take_off(self, model: Model, *, drain_seconds: float, reason: str) -> None:
        """Drain and unload; goes on when the caller leaves. Raises ModelBusy when the drain takes too long: then the
        model stays as it was."""
        if model.state is ModelState.FAILED:
            self._models.move(model, ModelState.ABSENT)
            return
        if model.state is not ModelState.LOADED:
            raise ModelBusy(f"{model.id} is {model.state.value}.", retry_after=1.0)
        self._models.move(model, ModelState.DRAINING)
        task = asyncio.get_running_loop().create_task(
            self._run(model, drain_seconds, reason), name=f"unload {model.id}"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait([task])
        if (error := task.result()) is not None:
            raise error

    async def engine_failed(self, model: Model, reason: str) -> None:
        """The engine died under a loaded model: its requests have had their ending, the memory comes back."""
        serving = model.serving
        assert serving is not None, "only a loaded model has an engine that fails"
        logs.event(_log, logging.ERROR, "engine failed", model=model.id, reason=reason)
        await serving.engine.close()
        if model.state is not ModelState.LOADED:  # it was being unloaded meanwhile
            return
        self.ledger.release(model.id)
        self._models.failed(model, EngineFailed(f"The engine of {model.id} failed: {reason}"))
        self._metrics.unloaded(model.id, "failed")
        await self.refresh()

    def engine_stuck(self, model: Model, reason: str) -> None:
        """The engine makes no steps: its requests end now, and its memory comes back if its thread ever does."""
        serving = model.serving
        assert serving is not None, "only a loaded model has an engine that is stuck"
        logs.event(_log, logging.ERROR, "engine stuck", model=model.id, reason=reason)
        serving.engine.abandon(f"The engine of {model.id} is stuck: {reason}")
        name = self.ledger.strand(model.id)
        self._models.failed(model, EngineFailed(f"The engine of {model.id} is stuck: {reason}"))
        self._metrics.unloaded(model.id, "failed")
        task = asyncio.get_running_loop().create_task(self._reclaim(serving, name), name=f"reclaim {model.id}")
        self._stranded.add(task)
        task.add_done_callback(self._stranded.discard)

    async def close(self) -> None:
        """Wait for what is under way, then end every engine, used or not."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        for model in self._models:
            if model.serving is not None:
                await model.serving.engine.close()
        for stranded in self._stranded:
            stranded.cancel()

    async def _reclaim(self, serving: Serving, holding: str) -> None:
        await serving.engine.close()
        self.ledger.release(holding)
        await self.refresh()

    async def _run(self, model: Model, drain_seconds: float, reason: str) -> ModelBusy | None:
        try:
            async with asyncio.timeout(drain_seconds):
                await model.idle.wait()
        except TimeoutError:
            self._models.move(model, ModelState.LOADED)
            numbers = {"in_flight": model.leases}
            return ModelBusy(f"{model.id} is still in use after {drain_seconds:g} s.", retry_after=5.0, extras=numbers)
        self._models.move(model, ModelState.UNLOADING)
        serving = model.serving
        assert serving is not None, "a loaded model has an engine"
        await serving.engine.close()
        self.ledger.release(model.id)
        await self.refresh()
        self._models.move(model, ModelState.ABSENT)
        self._metrics.unloaded(model.id, reason)
        logs.event(_log, logging.INFO, "unloaded", model=model.id, reason=reason)
        return None
