"""Loads: brings models onto this host, one job a model, whoever asked and whether or not they still wait.

A load is one operation: 1. files are fetched; 2. the header says what is needed; 3. memory is reserved, counting on the
victims that the plan names; 4. these are drained and unloaded; 5. the model is loaded, and proved by one generated
token; 6. only then it is shown as loaded. What fails before 4 costs nobody anything.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path

from cortex import logs
from cortex.config import NeuronConfig
from cortex.errors import CortexError, ModelBusy, PlanStale, ServiceUnavailable, ShuttingDown
from cortex.neuron.admission import Admission
from cortex.neuron.devices import MIB
from cortex.neuron.engines import Engine, Engines, LoadPlan, Resolver, prove
from cortex.neuron.load_request import check_plan, check_request, check_same
from cortex.neuron.metrics import Metrics
from cortex.neuron.models import ON_THE_WAY, Model, Models, Serving
from cortex.neuron.probing import capabilities_of
from cortex.neuron.progress import Progress
from cortex.neuron.selection import quant_at_load
from cortex.neuron.sizing import Size, actual_size, choose_size
from cortex.neuron.unloads import Unloads
from cortex.protocol import LoadRequest, LoadResult
from cortex.types import ModelState

__all__ = ["Loads"]

_log = logging.getLogger("cortex.neuron")
_TICK_SECONDS = 0.25
_JOBS_LIMIT = 16


class _Job:
    def __init__(self, model: Model) -> None:
        self.model = model
        self.progress = Progress(time.monotonic)
        self.task: asyncio.Task[CortexError | None] | None = None


class Loads:
    """Owns the load jobs. `epoch` names this process."""

    def __init__(
        self,
        *,
        epoch: str,
        models: Models,
        unloads: Unloads,
        engines: Engines,
        resolver: Resolver,
        config: NeuronConfig,
        metrics: Metrics,
    ) -> None:
        self._epoch = epoch
        self._models = models
        self._unloads = unloads
        self._ledger = unloads.ledger
        self._engines = engines
        self._resolver = resolver
        self._config = config.harness.candle
        self._harnesses = tuple(harness.name for harness in config.harnesses)
        self._drain_seconds = config.drain_secs
        self._metrics = metrics
        self._jobs: dict[str, _Job] = {}
        self._closed = False

    async def load(self, request: LoadRequest) -> LoadResult:
        """Have the model loaded. 1. It is: nothing to do. 2. It is on its way: join. 3. It leaves: come again. 4. Else
        check the plan and begin. Then wait, if asked to. Raises what made the load fail."""
        check_request(request, harnesses=self._harnesses, devices=self._ledger.devices)
        if self._closed:
            raise ShuttingDown("This host is shutting down.")
        model = self._models.get(request.model_id)
        if model is not None and model.state is ModelState.LOADED:  # 1.
            check_same(model.spec, request)
            return self._result(model)
        if model is not None and model.state in ON_THE_WAY:  # 2.
            check_same(model.spec, request)
            job = self._jobs[model.id]
        elif model is not None and model.state is not ModelState.FAILED:  # 3.
            raise ServiceUnavailable(f"{model.id} is being unloaded; ask again.", retry_after=1.0)
        else:  # 4.
            check_plan(request, epoch=self._epoch, revision=self._models.revision)
            if len(self._jobs) >= _JOBS_LIMIT:
                raise ServiceUnavailable(f"{len(self._jobs)} loads are under way; ask again later.")
            job = self._begin(request)
        if not request.wait:
            return self._result(job.model)
        assert job.task is not None, "a job has its task from the start"
        await asyncio.wait([job.task])
        if (error := job.task.result()) is not None:
            raise error
        return self._result(job.model)

    async def cancel(self, name: str) -> None:
        """Stop the load of a model, if there is one."""
        job = self._jobs.get(name)
        if job is None or job.task is None:
            return
        await asyncio.sleep(0)  # cancelled before its first step it would not even say that it ended
        job.task.cancel()
        await asyncio.wait([job.task])

    async def close(self) -> None:
        """Take no more loads and stop those under way."""
        self._closed = True
        for name in list(self._jobs):
            await self.cancel(name)

    def _begin(self, request: LoadRequest) -> _Job:
        job = _Job(self._models.begin(request))
        job.task = asyncio.get_running_loop().create_task(self._run(job), name=f"load {request.model_id}")
        self._jobs[request.model_id] = job
        return job

    def _result(self, model: Model) -> LoadResult:
        progress = model.progress
        return LoadResult(status=model.state, model_id=model.id, revision=self._models.revision, progress=progress)

    async def _run(self, job: _Job) -> CortexError | None:
        """The whole load; its failure as a value, since those who wait share it."""
        model, started = job.model, time.monotonic()
        logs.event(_log, logging.INFO, "loading", model=model.id, source=model.spec.source, quant=model.spec.quant)
        try:
            with self._ticking(job):
                await self._steps(job)
        except asyncio.CancelledError:
            self._ledger.release(model.id)
            self._models.move(model, ModelState.ABSENT)
            return ServiceUnavailable(f"The load of {model.id} was cancelled.", retry_after=1.0)
        except CortexError as error:
            return self._failed(model, error)
        except Exception:
            _log.exception("load of %s failed", model.id)
            return self._failed(model, CortexError("Internal error; the daemon's log has the details."))
        finally:
            self._jobs.pop(model.id, None)
        seconds = time.monotonic() - started
        self._metrics.loaded(model.id, seconds=seconds)
        logs.event(_log, logging.INFO, "loaded", model=model.id, seconds=round(seconds, 3), mb=model.bytes // MIB)
        return None

    def _failed(self, model: Model, error: CortexError) -> CortexError:
        self._ledger.release(model.id)
        self._models.failed(model, error)
        self._metrics.load_failed(model.id, error.code)
        logs.event(_log, logging.WARNING, "load failed", model=model.id, code=error.code, reason=error.message)
        return error

    async def _steps(self, job: _Job) -> None:
        model, spec = job.model, job.model.spec
        path = await self._resolver.resolve(spec, job.progress)  # 1.
        self._models.move(model, ModelState.LOADING)
        size = await self._reserve(job, path)  # 2. and 3.
        await self._evict(spec.evict, model)  # 4.
        plan = LoadPlan(
            path=path,
            context_length=spec.context_length,
            kv_bytes=size.kv_bytes,
            device=model.device,
            max_sequences=self._config.admission.max_in_flight,
            threads=self._config.threads,
            step_tokens=self._config.step_tokens,
            quant=quant_at_load(path, spec.quant),
        )
        engine = await self._engines.load(plan, job.progress)  # 5.
        try:
            await self._publish(job, engine, size)
        except BaseException:
            await engine.close()
            raise

    async def _publish(self, job: _Job, engine: Engine, size: Size) -> None:
        model, facts = job.model, engine.facts
        job.progress.set("proof")
        await prove(engine)
        serving = Serving(engine, Admission(self._config.admission), await capabilities_of(engine))
        taken = actual_size(size, weights_bytes=facts.weights_bytes, kv_bytes=facts.kv_bytes)
        self._ledger.settle(model.id, taken)
        await self._unloads.refresh()
        self._models.loaded(model, serving, taken)  # 6.

    async def _reserve(self, job: _Job, path: Path) -> Size:
        model, spec = job.model, job.model.spec
        job.progress.set("header")
        header = await self._engines.inspect(
            path, context_length=spec.context_length, quant=quant_at_load(path, spec.quant)
        )
        leaving = [name for name in spec.evict if self._models.get(name) is not None]
        device = spec.devices[0] if spec.devices else self._ledger.roomiest(leaving=leaving)
        size = choose_size(
            header,
            free=self._ledger.room(device, leaving=leaving),
            max_sequences=self._config.admission.max_in_flight,
            kv_bytes=None if self._config.kv_mb is None else self._config.kv_mb * MIB,
            context_asked=spec.context_length is not None,
        )
        self._ledger.reserve(model.id, device=device, needed=size.total_bytes, leaving=leaving)
        model.device, model.bytes, model.least_bytes = device, size.total_bytes, size.least_bytes
        return size

    async def _evict(self, victims: tuple[str, ...], model: Model) -> None:
        """Unload the victims. One that is in use after all makes the plan stale."""
        for name in victims:
            victim = self._models.get(name)
            if victim is None or victim.state is ModelState.ABSENT:
                continue
            try:
                await self._unloads.take_off(victim, drain_seconds=self._drain_seconds, reason="evicted")
            except ModelBusy as error:
                text = f"{model.id} was to replace {name}, which is in use: {error.message}"
                raise PlanStale(text, retry_after=1.0, extras={"revision": self._models.revision}) from error

    @contextlib.contextmanager
    def _ticking(self, job: _Job) -> Iterator[None]:
        """Meanwhile show the progress a few times a second."""

        async def tick() -> None:
            while True:
                await asyncio.sleep(_TICK_SECONDS)
                if job.model.state in ON_THE_WAY:
                    self._models.progressed(job.model, job.progress.read())

        ticking = asyncio.get_running_loop().create_task(tick(), name=f"progress {job.model.id}")
        try:
            yield
        finally:
            ticking.cancel()
