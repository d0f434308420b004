"""Dispatch: from a wanted model to a leased host: decide, start a load, wait, within a limit; never a lost wake-up."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import msgspec

from cortex.config import AdmissionSection
from cortex.errors import CapacityError, ModelLoading, ModelNotFound, QueueFull, ServiceUnavailable
from cortex.fleet.affinity import Affinity
from cortex.fleet.catalogue import Model, resolve
from cortex.fleet.eviction import Policy
from cortex.fleet.index import Index
from cortex.fleet.scheduler import Decision, Load, Reject, Serve, Wait, decide
from cortex.fleet.state import Fleet, Reach
from cortex.fleet.transitions import leased, released
from cortex.fleet.trust import request_failed, request_served
from cortex.gateway.access import caller
from cortex.gateway.board import Board
from cortex.gateway.lifecycle import Lifecycle
from cortex.gateway.lines import Lines
from cortex.gateway.metrics import Metrics
from cortex.types import ModelState

__all__ = ["Dispatcher", "Lease", "loading_state"]

_TICK_SECONDS = 1.0  # what changes by the clock alone (a minimum stay that ends) is looked at so often
_CONTACT_SECONDS = 5.0
_ROOM_SECONDS = 0.02


class Lease(msgspec.Struct, frozen=True):
    """The right to use a model on a host, counted while it lasts; `cold` = the request waited for a load, `ours` = the
    host is a neuron."""

    neuron: str
    endpoint: str
    cold: bool
    ours: bool = True


class Dispatcher:
    """Executes the policy's decisions for requests. `policy`, `wait_seconds` and `limits` may be replaced while it
    runs."""

    def __init__(
        self,
        board: Board,
        policy: Policy,
        lifecycle: Lifecycle,
        metrics: Metrics,
        *,
        wait_seconds: float,
        limits: AdmissionSection,
    ) -> None:
        self._board = board
        self.policy = policy
        self._lifecycle = lifecycle
        self.wait_seconds = wait_seconds
        self.lines = Lines(limits, metrics.waiting.set)
        self._affinity = Affinity()
        board.on_change = self._follow

    @property
    def policy(self) -> Policy:
        """What decisions go by."""
        return self._index.policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self._index = Index(self._board.fleet, policy)

    def _follow(self, fleet: Fleet) -> None:
        """Keep up with the fleet from change to change, so that no decision has to catch up with many."""
        self._index.follow(fleet)

    async def model(self, name: str) -> Model:
        """The model of a name. While a host was never met it may be the one that knows the name, so that is waited
        for. Raises ModelNotFound."""
        with suppress(ModelNotFound):
            return resolve(self.policy.catalogue, self._board.fleet, name)
        with suppress(TimeoutError):
            async with asyncio.timeout(_CONTACT_SECONDS):
                await self._board.until(_all_met)
        return resolve(self.policy.catalogue, self._board.fleet, name)

    def decision(
        self, model: Model, *, exclude: frozenset[str] = frozenset(), near: str | None = None, waiting: int = 0
    ) -> Decision:
        """What the policy says now; nothing is carried out."""
        fleet, index = self._board.fleet, self._index
        index.follow(fleet)
        return decide(
            fleet, model, index.policy, now=time.time(), exclude=exclude, near=near, waiting=waiting, index=index
        )

    def window_elsewhere(self, model: Model) -> int | None:
        """The shortest context of the model on servers that are not ours; None where there is none, or none says."""
        having = (host for host in self._board.fleet.having(model.id) if not host.ours)
        windows = (host.models[model.id].context_length for host in having)
        return min((window for window in windows if window), default=None)

    @asynccontextmanager
    async def lease(
        self, model: Model, *, exclude: frozenset[str] = frozenset(), warm_only: bool = False, prompt: bytes = b""
    ) -> AsyncIterator[Lease]:
        """A lease for the block. Waits up to the limit for a load, for room or for a place, in turn with the other
        callers; with `warm_only` not at all. Among several hosts it is the one that has seen the beginning of `prompt`.
        Raises what the policy rejects with, ModelLoading or QueueFull after the limit, QueueFull or RateLimited where
        too many wait."""
        several = len(self._board.fleet.located.get(model.id, ())) > 1 and prompt
        cached = f"{model.id} {caller().cache_salt}"  # where it is worth nothing, it is not looked for
        near = self._affinity.find(cached, prompt) if several else None
        host, cold = await self._host(model, exclude, near=near, warm_only=warm_only)
        if several:
            self._affinity.learn(cached, prompt, host)
        there = self._board.fleet.hosts[host]
        self._board.note(leased, host, model.id)
        try:
            yield Lease(host, there.endpoint, cold, there.ours)
        finally:
            self._released(host, model.id)

    def served(self, host: str, model: str) -> None:
        """The host answered a request of the model in full."""
        there = self._board.fleet.hosts.get(host)
        if there is not None and model in there.faults:
            self._board.apply(request_served, host, model)

    def failed(self, host: str, model: str) -> None:
        """The host failed a request of the model, through no fault of the caller's."""
        self._board.apply(request_failed, host, model, now=time.time())

    def _released(self, host: str, model: str) -> None:
        """A lease ended; a host that was taken out of the configuration meanwhile knows none any more."""
        there = self._board.fleet.hosts.get(host)
        left = 0 if there is None else there.leases.get(model, 0)
        if left:  # nobody waits for anything but the last, after which it may be displaced, or for the place
            change = self._board.note if left > 1 and not self.lines.any else self._board.apply
            change(released, host, model, now=time.time())

    async def _host(
        self, model: Model, exclude: frozenset[str], *, near: str | None, warm_only: bool
    ) -> tuple[str, bool]:
        """Whom to ask, and whether that took a load. Who finds others waiting waits behind them."""
        line = "|".join((model.id, *sorted(exclude)))
        first = self.decision(model, exclude=exclude, near=near)
        if not self.lines.waiting(line):
            if isinstance(first, Serve):
                return first.host, False
            if isinstance(first, Reject):
                raise first.error()
        if warm_only:
            raise ServiceUnavailable(f"No other host has {model.id} loaded.")
        loaded = isinstance(first, Serve) or first == Wait("place")
        limit = self.lines.limits.max_wait_secs if loaded else self.wait_seconds

        def too_long() -> CapacityError:
            return _too_long(self._board.fleet, model.id, limit, loaded=loaded)

        deadline = asyncio.get_running_loop().time() + limit
        async with self.lines.turn(line, caller().share, deadline, too_long) as waiter:
            while True:
                decision = self.decision(model, exclude=exclude, near=near, waiting=self.lines.waiting(line))
                if isinstance(decision, Serve):
                    return decision.host, waiter.cold
                await self._act(decision, model, line, deadline, too_long)

    async def _act(
        self, decision: Decision, model: Model, line: str, deadline: float, too_long: Callable[[], CapacityError]
    ) -> None:
        """Carry out what is no Serve. No await stands between a decision and the load it starts: nobody decides
        twice."""
        match decision:
            case Reject():
                raise decision.error()
            case Load():
                self._lifecycle.start(decision, model)
            case Wait(reason):
                if reason == "loading":
                    self.lines.cold(line)
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0:
                    raise too_long()
                await self._board.changed(min(left, _TICK_SECONDS))
                if reason == "room":  # a look at all hosts: not with every sign of one of them
                    await asyncio.sleep(_ROOM_SECONDS)


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


def _too_long(fleet: Fleet, model: str, waited: float, *, loaded: bool) -> CapacityError:
    if loaded:
        return QueueFull(f"All places of {model} were taken for {waited:g} s.", retry_after=5.0)
    loading = loading_state(fleet, model)
    if loading is None:
        return ServiceUnavailable(f"No room for {model} within {waited:g} s: the models in memory are in use.")
    eta = loading["eta_seconds"]
    retry = min(max(float(eta), 1.0), 120.0) if isinstance(eta, int | float) else 5.0
    message = f"{model} is still {loading['state']} on {loading['node']} after {waited:g} s; try again."
    return ModelLoading(message, retry_after=retry, extras={"loading": loading})
