"""Lifecycle: carries load decisions out, one job a model, whoever asked for it and whether or not they still wait."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from cortex import logs
from cortex.errors import (
    CapacityError,
    CortexError,
    InsufficientMemory,
    PlanStale,
    ServiceUnavailable,
)
from cortex.fleet.catalogue import Model
from cortex.fleet.scheduler import Load
from cortex.fleet.state import ON_THE_WAY, Fleet, Host, Job
from cortex.fleet.transitions import job_ended, job_started, load_failed
from cortex.gateway.board import Board
from cortex.gateway.metrics import Metrics
from cortex.gateway.neurons import NeuronClient, load_error
from cortex.gateway.patience import NoProgress, patience, while_it_moves
from cortex.protocol import LoadRequest, UnloadRequest
from cortex.types import ModelState

__all__ = ["Lifecycle"]

_log = logging.getLogger("cortex.gateway")
_STALE_PLANS = 5


class Lifecycle:
    """Owns the load jobs. `refresh` asks a host anew what it is and has, `on_loaded` hears of each load there."""

    def __init__(
        self,
        board: Board,
        neurons: NeuronClient,
        metrics: Metrics,
        *,
        refresh: Callable[[str], Awaitable[bool]],
        on_loaded: Callable[[str], None],
    ) -> None:
        self._board = board
        self._neurons = neurons
        self._metrics = metrics
        self._refresh = refresh
        self._on_loaded = on_loaded
        self._stale: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, load: Load, model: Model) -> None:
        """Begin the load; returns at once. The job stands on the board before anyone else can decide."""
        plan = load.plan
        job = Job(
            model=model.id,
            host=plan.host,
            since=time.time(),
            devices=plan.devices,
            share_bytes=plan.share_bytes,
            evict=plan.evict,
        )
        self._board.apply(job_started, job)
        task = asyncio.get_running_loop().create_task(self._run(job, model), name=f"load {model.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give up on all jobs; the hosts go on with what they were told."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, job: Job, model: Model) -> None:
        fields: dict[str, Any] = {"model": job.model, "neuron": job.host}
        logs.event(_log, logging.INFO, "loading", **fields, evict=",".join(job.evict) or None)
        started = time.monotonic()
        try:
            await self._load(job, model)
            await self._refresh(job.host)
        except (PlanStale, InsufficientMemory) as error:
            await self._plan_again(job, error)
        except NoProgress as error:
            await self._call_off(job)
            self._failed(job, error, time.monotonic() - started)
        except CortexError as error:
            self._failed(job, error, time.monotonic() - started)
        except Exception:
            _log.exception("load of %s failed", job.model)
            self._failed(job, CortexError("Internal error."), time.monotonic() - started)
        else:
            seconds = time.monotonic() - started
            self._stale.pop(job.model, None)
            self._metrics.loaded(job.model, job.host, seconds=seconds, evicted=job.evict)
            logs.event(_log, logging.INFO, "loaded", **fields, seconds=round(seconds, 3))
            self._board.apply(job_ended, job.model)
            self._on_loaded(job.host)

    async def _load(self, job: Job, model: Model) -> None:
        """Ask, and wait for the end: 1. the host's answer, unless it goes away; 2. where it only began (202), its
        entry of the model."""
        host = self._board.fleet.hosts[job.host]
        asking = self._neurons.load(host.endpoint, _request(job, model, host))
        result = await while_it_moves(self._board, job, asking, seconds=patience(job))  # 1.
        if result.status is ModelState.LOADED:
            return
        await self._refresh(job.host)
        await while_it_moves(self._board, job, self._settled(job), seconds=patience(job))  # 2.
        there = self._board.fleet.hosts.get(job.host)
        entry = None if there is None else there.models.get(job.model)
        if entry is None:
            raise ServiceUnavailable(f"{job.host} gave the load up.")
        if entry.status is not ModelState.LOADED:
            raise load_error(entry.error_code, entry.error or "The load failed.")

    async def _settled(self, job: Job) -> None:
        await self._board.until(lambda fleet: not _has(fleet, job, *ON_THE_WAY))

    async def _call_off(self, job: Job) -> None:
        """Have the host stop a load that stands still, so that it holds no memory."""
        host = self._board.fleet.hosts.get(job.host)
        if host is not None:
            with suppress(CortexError):
                await self._neurons.unload(host.endpoint, UnloadRequest(model_id=job.model, drain_seconds=0.0))

    async def _plan_again(self, job: Job, error: CapacityError) -> None:
        """The host or its memory is not what the plan was made for: look at it, and let whoever waits decide anew;
        not for ever."""
        self._stale[job.model] = self._stale.get(job.model, 0) + 1
        if self._stale[job.model] >= _STALE_PLANS:
            self._stale.pop(job.model)
            if isinstance(error, PlanStale):
                error = ServiceUnavailable(f"{job.host} changes too often to plan for: {error.message}")
            self._failed(job, error, 0.0)
            return
        await self._refresh(job.host)
        self._board.apply(load_failed, job.model, error, now=time.time(), plan=True)

    def _failed(self, job: Job, error: CortexError, seconds: float) -> None:
        self._metrics.load_failed(job.model, job.host, outcome=error.code)
        notes = "; ".join(getattr(error, "__notes__", [])) or None
        fields = {"model": job.model, "neuron": job.host, "code": error.code, "reason": error.message, "notes": notes}
        logs.event(_log, logging.WARNING, "load failed", **fields, seconds=round(seconds, 3))
        self._board.apply(load_failed, job.model, error, now=time.time())


def _has(fleet: Fleet, job: Job, *states: ModelState) -> bool:
    host = fleet.hosts.get(job.host)
    return host is not None and host.has(job.model, *states)


def _request(job: Job, model: Model, host: Host) -> LoadRequest:
    profile = model.profile
    several = len(host.devices) > 1
    return LoadRequest(
        model_id=profile.id,
        harness=profile.harness,
        quant=profile.quant,
        source=profile.source,
        tensor_parallel=profile.min_devices if profile.min_devices > 1 else None,
        devices=job.devices if several else None,
        context_length=profile.limit.context,
        evict=job.evict,
        epoch=host.epoch,
        revision=host.revision if host.epoch is not None else None,
        wait=True,
    )
