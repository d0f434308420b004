"""Host: the parts of one neuron, put together; no part knows more than it needs."""

import time
import uuid
from collections.abc import Callable, Mapping

from cortex.config import NeuronConfig
from cortex.neuron.devices import Devices, find_devices
from cortex.neuron.embedding import Embedding
from cortex.neuron.engines import Engines
from cortex.neuron.events import EventHub
from cortex.neuron.fetching import Fetching
from cortex.neuron.inference import Inference
from cortex.neuron.load_request import check_plan
from cortex.neuron.loads import Loads
from cortex.neuron.memory import Ledger
from cortex.neuron.metrics import Metrics
from cortex.neuron.models import Models
from cortex.neuron.preload import Preload
from cortex.neuron.sources import Sources
from cortex.neuron.status import Status, discovery
from cortex.neuron.tokens import Tokens
from cortex.neuron.unloads import Unloads
from cortex.neuron.watch import Watch
from cortex.protocol import NeuronEvent, UnloadRequest, UnloadResult
from cortex.types import ModelState

__all__ = ["Host"]

_BEAT_SECONDS = 5.0


class Host:
    """Made inside the event loop that runs it. `url` tells where this host listens."""

    def __init__(
        self,
        config: NeuronConfig,
        environ: Mapping[str, str],
        *,
        engines: Engines,
        devices: Devices | None = None,
        url: Callable[[], str],
    ) -> None:
        self.epoch = uuid.uuid4().hex
        self.url = url
        self.version = engines.build()
        cuda = "cuda" in self.version.get("features", ())
        found = devices or find_devices(cuda_built=cuda, memory_mb=config.memory_mb)
        harnesses = tuple(harness.name for harness in config.harnesses)
        self.discovery = discovery(found.facts, self.version, epoch=self.epoch, harnesses=harnesses)
        ledger = Ledger(found.measure())
        self.models = Models(now=time.time, on_change=lambda entry: self.events.publish(self.status.changed(entry)))
        self.status = Status(epoch=self.epoch, models=self.models, ledger=ledger, devices=found, now=time.monotonic)
        beat = min(_BEAT_SECONDS, config.keep_alive_secs)
        self.events = EventHub(snapshot=self.status.snapshot, beat=self.status.beat, beat_seconds=beat)
        self.metrics = Metrics()
        self.unloads = Unloads(models=self.models, ledger=ledger, metrics=self.metrics, refresh=self.status.refresh)
        self.loads = Loads(
            epoch=self.epoch,
            models=self.models,
            unloads=self.unloads,
            engines=engines,
            resolver=Fetching(Sources.of(config.harness.candle, environ)),
            config=config,
            metrics=self.metrics,
        )
        self.preload = Preload(self.loads, config.default_models)
        self.status.activation = lambda: self.preload.activation
        self.inference = Inference(self.models, self.metrics, keep_alive_seconds=config.keep_alive_secs)
        self.embedding = Embedding(self.models, self.metrics)
        self.tokens = Tokens(self.models, signing_key=self.inference.signing_key)
        stuck = config.harness.candle.stuck_secs
        self.watch = Watch(self.status, self.models, self.unloads, stuck_seconds=stuck)

    async def unload(self, request: UnloadRequest) -> UnloadResult:
        """`POST /models/unload`: stops a load that is under way, drains and unloads a model that is there."""
        model = self.models.find(request.model_id)
        check_plan(request, epoch=self.epoch, revision=self.models.revision)
        await self.loads.cancel(model.id)
        if model.state is not ModelState.ABSENT:
            await self.unloads.take_off(model, drain_seconds=request.drain_seconds, reason="asked")
        return UnloadResult(status="unloaded", model_id=model.id, revision=self.models.revision)

    def interrupt(self) -> None:
        """End what still runs."""
        self.inference.interrupt()
        self.embedding.interrupt()

    def begin_drain(self) -> None:
        """Refuse new requests and loads, and tell everyone who listens."""
        self.status.draining = True
        self.inference.draining = True
        self.embedding.draining = True
        event = NeuronEvent(
            kind="draining", epoch=self.epoch, revision=self.models.revision, health=self.status.health()
        )
        self.events.publish(event)
        self.events.close()
