"""Dispatch: from a wanted model to a leased host: decide, start a load, wait, within a limit; never a lost wake-up."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import msgspec

from cortex.errors import CapacityError, ModelLoading, ModelNotFound, QueueFull, ServiceUnavailable
from cortex.fleet.catalogue import Model, resolve
from cortex.fleet.eviction import Policy
from cortex.fleet.scheduler import Decision, Load, Reject, Serve, Wait, decide
from cortex.fleet.state import Fleet, Reach
from cortex.fleet.transitions import leased, released
from cortex.gateway.board import Board
from cortex.gateway.lifecycle import Lifecycle
from cortex.gateway.metrics import Metrics
from cortex.types import ModelState

__all__ = ["Dispatcher", "Lease", "loading_state"]

_TICK_SECONDS = 1.0  # what changes by the clock alone (a minimum stay that ends) is looked at so often
_CONTACT_SECONDS = 5.0
_MAX_WAITING = 1024


class Lease(msgspec.Struct, frozen=True):
    """The right to use a model on a host, counted while it lasts; `cold` = the request waited for a load."""

    neuron: str
    endpoint: str
    cold: bool


class Dispatcher:
    """Executes the policy's decisions for requests. `policy` and `wait_seconds` may be replaced while it runs."""

    def __init__(
        self, board: Board, policy: Policy, lifecycle: Lifecycle, metrics: Metrics, *, wait_seconds: float
    ) -> None:
        self._board = board
        self.policy = policy
        self._lifecycle = lifecycle
        self._metrics = metrics
        self.wait_seconds = wait_seconds
        self._waiting = 0

    async def model(self, name: str) -> Model:
        """The model of a name. While a host was never met it may be the one that knows the name, so that is waited
        for. Raises ModelNotFound."""
        with suppress(ModelNotFound):
            return resolve(self.policy.catalogue, self._board.fleet, name)
        with suppress(TimeoutError):
            async with asyncio.timeout(_CONTACT_SECONDS):
                await self._board.until(_all_met)
        return resolve(self.policy.catalogue, self._board.fleet, name)

    def decision(self, model: Model, *, exclude: frozenset[str] = frozenset()) -> Decision:
        """What the policy says now; nothing is carried out."""
        return decide(self._board.fleet, model, self.policy, now=time.time(), exclude=exclude)

    @asynccontextmanager
    async def lease(
        self, model: Model, *, exclude: frozenset[str] = frozenset(), warm_only: bool = False
    ) -> AsyncIterator[Lease]:
        """A lease for the block. Waits up to the limit for a load or for room; with `warm_only` not at all. Raises
        what the policy rejects with, ModelLoading after the limit, QueueFull when too many wait."""
        host, cold = await self._host(model, exclude, warm_only=warm_only)
        endpoint = self._board.fleet.hosts[host].endpoint
        self._board.note(leased, host, model.id)
        try:
            yield Lease(host, endpoint, cold)
        finally:
            self._released(host, model.id)

    def _released(self, host: str, model: str) -> None:
        """A lease ended; a host that was taken out of the configuration meanwhile knows none any more."""
        there = self._board.fleet.hosts.get(host)
        left = 0 if there is None else there.leases.get(model, 0)
        if left:
            change = self._board.note if left > 1 else self._board.apply  # only after the last it may be displaced
            change(released, host, model, now=time.time())

    async def _host(self, model: Model, exclude: frozenset[str], *, warm_only: bool) -> tuple[str, bool]:
        """Decide until it is Serve. No await stands between a decision and what it starts: nobody decides twice."""
        deadline = time.monotonic() + self.wait_seconds
        cold = False
        while True:
            match self.decision(model, exclude=exclude):
                case Serve(host):
                    return host, cold
                case Reject() as reject:
                    raise reject.error()
                case _ if warm_only:
                    raise ServiceUnavailable(f"No other host has {model.id} loaded.")
                case Load() as load:
                    cold = True
                    self._lifecycle.start(load, model)
                case Wait(reason):
                    cold = cold or reason == "loading"
                    with self._counted():
                        await self._step(model, deadline)

    async def _step(self, model: Model, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise _too_long(self._board.fleet, model.id, self.wait_seconds)
        await self._board.changed(min(left, _TICK_SECONDS))

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self._waiting >= _MAX_WAITING:
            raise QueueFull(
                "Too many requests wait for models.", extras={"waiting": self._waiting, "limit": _MAX_WAITING}
            )
        self._waiting += 1
        self._metrics.waiting.inc()
        try:
            yield
        finally:
            self._waiting -= 1
            self._metrics.waiting.dec()


def _all_met(fleet: Fleet) -> bool:
    return all(host.reach is not Reach.UNKNOWN for host in fleet.hosts.values())


def loading_state(fleet: Fleet, model: str) -> dict[str, object] | None:
    """`{state, node, progress, eta_seconds}` of a load under way, None without one; progress is 0 to 1 or null."""
    job = fleet.jobs.get(model)
    hosts = [fleet.hosts[job.host]] if job is not None else list(fleet.hosts.values())
    for host in hosts:
        entry = host.models.get(model)
        if entry is not None and entry.status in (ModelState.FETCHING, ModelState.LOADING):
            told = entry.progress
            share = round(told.done_bytes / told.total_bytes, 4) if told is not None and told.total_bytes else None
            eta = told.eta_seconds if told is not None else None
            return {"state": entry.status.value, "node": host.name, "progress": share, "eta_seconds": eta}
    if job is None:
        return None
    return {"state": "loading", "node": job.host, "progress": None, "eta_seconds": None}


def _too_long(fleet: Fleet, model: str, waited: float) -> CapacityError:
    loading = loading_state(fleet, model)
    if loading is None:
        return ServiceUnavailable(f"No room for {model} within {waited:g} s: the models in memory are in use.")
    eta = loading["eta_seconds"]
    retry = min(max(float(eta), 1.0), 120.0) if isinstance(eta, int | float) else 5.0
    message = f"{model} is still {loading['state']} on {loading['node']} after {waited:g} s; try again."
    return ModelLoading(message, retry_after=retry, extras={"loading": loading})
