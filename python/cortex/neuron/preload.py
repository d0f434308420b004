"""Preload: the default models, loaded in order in the background once the daemon listens, again and again for a while.

A registry that is away at boot is no reason to stay without the model; a file that is broken is not tried again.
"""

import asyncio
import logging
from typing import Any

import msgspec

from cortex import logs
from cortex.config import DefaultModel
from cortex.errors import CapacityError, CortexError, SourceNotFound
from cortex.neuron.loads import Loads
from cortex.protocol import LoadRequest

__all__ = ["Preload"]

_log = logging.getLogger("cortex.neuron")
_ROUNDS = 6
_FIRST_PAUSE, _LONGEST_PAUSE = 10.0, 300.0
_MAY_PASS = (SourceNotFound, CapacityError)


class Preload:
    """Runs the default loads; `activation` is what `/health` says of them."""

    def __init__(self, loads: Loads, models: tuple[DefaultModel, ...], *, first_pause: float = _FIRST_PAUSE) -> None:
        self._loads = loads
        self._pending = list(models)
        self._first_pause = first_pause
        self._completed: list[str] = []
        self._failed: dict[str, str] = {}
        self._current: str | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def activation(self) -> dict[str, Any]:
        """`state` is pre_warming until every default model had its tries, then ready."""
        running = self._task is not None and not self._task.done()
        return {
            "state": "pre_warming" if running and (self._pending or self._current) else "ready",
            "pending": [model.model_id for model in self._pending],
            "in_progress": self._current,
            "completed": list(self._completed),
            "failed": [{"model_id": name, "error": error} for name, error in self._failed.items()],
        }

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="default models")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        pause = self._first_pause
        for round_ in range(_ROUNDS):
            again = []
            while self._pending:
                model = self._pending.pop(0)
                if await self._load(model):
                    again.append(model)
            if not again or round_ + 1 == _ROUNDS:
                return
            self._pending = again
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _load(self, model: DefaultModel) -> bool:
        """Whether to try again later."""
        self._current = model.model_id
        fields = {name: value for name, value in msgspec.structs.asdict(model).items() if value is not None}
        try:
            await self._loads.load(LoadRequest(**fields))
        except CortexError as error:
            self._failed[model.model_id] = error.message
            logs.event(_log, logging.WARNING, "default model failed", model=model.model_id, reason=error.message)
            return isinstance(error, _MAY_PASS)
        finally:
            self._current = None
        self._failed.pop(model.model_id, None)
        self._completed.append(model.model_id)
        return False
