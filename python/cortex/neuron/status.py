"""Status: this host in the words of the wire: discovery, health, events, and the figures for metrics."""

import asyncio
import platform
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from cortex.neuron.devices import DeviceFacts, Devices
from cortex.neuron.figures import EngineFigures, Figures
from cortex.neuron.memory import Ledger
from cortex.neuron.models import Model, Models, Serving
from cortex.neuron.rates import Rates
from cortex.protocol import Discovery, Health, ModelEntry, ModelLoad, NeuronEvent
from cortex.types import ModelState

__all__ = ["Status", "discovery"]

_STALLED_SECONDS = 120.0
_STUCK_SECONDS = 600.0  # longer than any step of a large model on a slow host
_SETTLED = frozenset({ModelState.LOADED, ModelState.ABSENT, ModelState.FAILED})
_ARRIVING = frozenset({ModelState.FETCHING, ModelState.LOADING})


def discovery(facts: DeviceFacts, build: Mapping[str, Any], *, epoch: str, harnesses: tuple[str, ...]) -> Discovery:
    """What this host is; `build` is what the engine says of itself."""
    system = platform.uname()
    return Discovery(
        hostname=system.node,
        os=system.system,
        kernel=system.release,
        epoch=epoch,
        version=str(build.get("package_version", "")),
        devices=facts.devices,
        cuda_version=facts.cuda_version,
        driver_version=facts.driver_version,
        cuda_unavailable_reason=facts.cuda_unavailable_reason,
        architectures=tuple(build.get("architectures", ())),
        harnesses=harnesses,
    )


class Status:
    """Answers from memory: nothing here waits for a device or an engine. `now` gives monotonic seconds."""

    def __init__(
        self, *, epoch: str, models: Models, ledger: Ledger, devices: Devices, now: Callable[[], float]
    ) -> None:
        self._epoch = epoch
        self._models = models
        self._ledger = ledger
        self._devices = devices
        self._now = now
        self._started = now()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="devices")
        self._rates: dict[str, Rates] = {}
        self.activation: Callable[[], dict[str, Any]] = dict
        self.draining = False

    async def refresh(self) -> None:
        """Measure the devices, in a thread that does nothing else."""
        readings = await asyncio.get_running_loop().run_in_executor(self._thread, self._devices.measure)
        self._ledger.measured(readings)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False)

    def update_rates(self) -> None:
        """Take the tokens since the last call; called about once a second."""
        loaded = {model.id: model.serving.engine.stats() for model in self._models if model.serving is not None}
        self._rates = {name: self._rates.get(name, Rates()) for name in loaded}
        for name, stats in loaded.items():
            self._rates[name].update(self._now(), stats.prefill_tokens, stats.decode_tokens)

    def health(self) -> Health:
        """`GET /health`."""
        return Health(
            status=self._word(),
            uptime_secs=round(self._now() - self._started, 3),
            epoch=self._epoch,
            revision=self._models.revision,
            devices=self._ledger.health(),
            models=self._loads(),
            activation=self.activation(),
        )

    def snapshot(self) -> NeuronEvent:
        """All models and the health: what a listener hears first."""
        entries = tuple(model.entry() for model in self._models)
        return self._event("snapshot", entries, self.health())

    def beat(self) -> NeuronEvent:
        """The health, when nothing else is new."""
        return self._event("health", (), self.health())

    def changed(self, entry: ModelEntry) -> NeuronEvent:
        """One model's new entry; with the memory it took or left, once it is there or gone."""
        return self._event("model", (entry,), self.health() if entry.status in _SETTLED else None)

    def figures(self) -> Figures:
        """For the metrics."""
        engines = {model.id: _engine_figures(model.serving) for model in self._models if model.serving is not None}
        return Figures(
            devices=self._ledger.health(), models=self._loads(), engines=engines, revision=self._models.revision
        )

    def line(self) -> str:
        """This host in one line, for the service manager."""
        words = [_loading(model.entry()) for model in self._models if model.state in _ARRIVING]
        loaded = self._loads()
        words.append(f"{len(loaded)} models loaded")
        words.append(f"{sum(model.in_flight for model in loaded)} requests running")
        return ", ".join(["draining", *words] if self.draining else words)

    def alive(self) -> bool:
        """Whether every engine that has work makes steps; one that said it failed is taken off by the watch."""
        stats = [model.serving.engine.stats() for model in self._models if model.serving is not None]
        return all(one.failed is not None or one.last_step_age_seconds < _STUCK_SECONDS for one in stats)

    def _event(
        self,
        kind: Literal["snapshot", "model", "health", "draining"],
        entries: tuple[ModelEntry, ...],
        health: Health | None,
    ) -> NeuronEvent:
        return NeuronEvent(kind=kind, epoch=self._epoch, revision=self._models.revision, models=entries, health=health)

    def _word(self) -> Literal["ok", "draining", "failing"]:
        if self.draining:
            return "draining"
        stats = [model.serving.engine.stats() for model in self._models if model.serving is not None]
        stuck = any(one.failed is not None or one.last_step_age_seconds > _STALLED_SECONDS for one in stats)
        return "failing" if stuck else "ok"

    def _loads(self) -> tuple[ModelLoad, ...]:
        return tuple(self._load(model) for model in self._models if model.serving is not None)

    def _load(self, model: Model) -> ModelLoad:
        serving = model.serving
        assert serving is not None, "only a loaded model has live figures"
        stats, admission, rates = serving.engine.stats(), serving.admission, self._rates.get(model.id, Rates())
        return ModelLoad(
            id=model.id,
            in_flight=admission.running,
            queue_depth=admission.waiting,
            max_in_flight=admission.config.max_in_flight,
            max_queue_depth=admission.config.max_queue_depth,
            kv_blocks_used=stats.blocks_used,
            kv_blocks_total=stats.blocks_total,
            tok_s_prefill=rates.prefill,
            tok_s_decode=rates.decode,
        )


def _loading(entry: ModelEntry) -> str:
    """`loading org/model 40%`; without a share while the size is not known."""
    progress = entry.progress
    if progress is None or progress.total_bytes <= 0:
        return f"{entry.status.value} {entry.id}"
    return f"{entry.status.value} {entry.id} {min(progress.done_bytes / progress.total_bytes, 1.0):.0%}"


def _engine_figures(serving: Serving) -> EngineFigures:
    engine = serving.engine
    return EngineFigures(numbers=engine.stats().counters(), timings=engine.timings())
