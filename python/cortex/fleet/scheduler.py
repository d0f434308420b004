"""What to do with a request for a model now: serve, load, wait or reject; a numbered tree over the fleet's value."""

from typing import Literal

import msgspec

from cortex import errors
from cortex.errors import CortexError
from cortex.fleet.catalogue import Model
from cortex.fleet.choosing import best_free_plan, best_plan
from cortex.fleet.eviction import Policy
from cortex.fleet.index import Index
from cortex.fleet.placement import Plan, feasible, needed_bytes, plan, share_of
from cortex.fleet.search import Search
from cortex.fleet.state import ON_THE_WAY, Duty, Failure, Fleet, Host, Reach
from cortex.types import ModelState

__all__ = ["Decision", "Load", "Reject", "Serve", "Wait", "decide"]

_LOAD_ERRORS: dict[str, type[CortexError]] = {
    kind.code: kind
    for kind in (
        errors.InsufficientMemory,
        errors.LoadError,
        errors.ModelFileInvalid,
        errors.NeverFits,
        errors.QuantNotFound,
        errors.QueueFull,
        errors.ShuttingDown,
        errors.SourceNotFound,
        errors.UnsupportedModel,
    )
}
_BUSIER_BY = 4
_BUSIER_TIMES = 1.5
_LEAVING = (ModelState.DRAINING, ModelState.UNLOADING)


class Serve(msgspec.Struct, frozen=True):
    """The model is loaded there."""

    host: str


class Load(msgspec.Struct, frozen=True):
    """Load it there, after the victims of the plan have left."""

    plan: Plan

    @property
    def host(self) -> str:
        """Where."""
        return self.plan.host

    @property
    def evict(self) -> tuple[str, ...]:
        """Whom to unload first."""
        return self.plan.evict


class Wait(msgspec.Struct, frozen=True):
    """Something has to happen first: a place at a host that has the model, a load (on `host`), room (busy or young
    models), or a first contact."""

    reason: Literal["place", "loading", "room", "contact"]
    host: str | None = None


class Reject(msgspec.Struct, frozen=True, kw_only=True):
    """No, and with which error of our tree."""

    kind: type[CortexError]
    message: str
    retry_after: float | None = None
    extras: dict[str, int] = {}

    @property
    def status(self) -> int:
        """HTTP status."""
        return self.kind.status

    def error(self) -> CortexError:
        """As an exception."""
        return self.kind(self.message, retry_after=self.retry_after, extras=dict(self.extras))


Decision = Serve | Load | Wait | Reject


def decide(
    fleet: Fleet,
    model: Model,
    policy: Policy,
    *,
    now: float,
    exclude: frozenset[str] = frozenset(),
    near: str | None = None,
    waiting: int = 0,
    index: Index | None = None,
) -> Decision:
    """Decide for one request; `exclude` are hosts that failed it already, `near` the one that has seen its beginning,
    `waiting` how many others wait for the model. `index`, of this fleet under this policy, changes no decision: with it
    few hosts of many are looked at.

    1. Loaded on serving hosts: serve, or wait for a place there, or load another copy (`_serve`).
    2. On its way somewhere (our job, or the host says so), or leaving: wait.
    3. Some host was never met: wait for the first contact.
    4. Only a host knows the model, and it is not loaded there: reject.
    5. No host could ever hold it: reject for good, with the numbers.
    6. All hosts that could are away, or may load nothing: reject for now, or wait for one that begins anew.
    7. All that are there failed to load it lately: reject with that failure.
    8. It fits, free or after evicting idle models: load; on a host that flaps only where no other can.
    9. It would fit once busy models are idle: wait.
    10. Reject for now: pinned models hold the memory.
    """
    having = [host for host in fleet.having(model.id) if host.serving and host.name not in exclude]
    ready = [host for host in having if host.has(model.id, ModelState.LOADED)]
    if ready:  # 1.
        served = _serve(fleet, model.id, ready, now=now, near=near)
        return served or _another_copy(fleet, model, policy, now=now, waiting=waiting, index=index) or Wait("place")
    on_the_way = _on_the_way(fleet, having, model.id)
    if on_the_way is not None:  # 2.
        return on_the_way
    if _unmet(fleet, exclude, index):  # 3.
        return Wait("contact")
    if not model.listed:  # 4.
        return _only_there(having, model.id)
    found = None if index is None else _search(index, model, now, exclude)
    if found is not None:  # 8. and 9., with 5. to 7. behind them
        return found
    hosts = [host for name, host in sorted(fleet.hosts.items()) if name not in exclude and host.ours]
    return _place(fleet, model, policy, hosts, now, searched=index is not None)


def _unmet(fleet: Fleet, exclude: frozenset[str], index: Index | None) -> bool:
    if index is not None:
        return bool(index.unmet - exclude)
    return any(host.reach is Reach.UNKNOWN for name, host in fleet.hosts.items() if name not in exclude)


def _search(index: Index, model: Model, now: float, exclude: frozenset[str]) -> Decision | None:
    """Steps 8 and 9, where the index knows the answer; a place that is found has passed 5 to 7."""
    search = Search(index, model, now=now, exclude=exclude)
    best = search.best()
    if best is not None:
        return Load(best)
    return Wait("room") if search.room_once_idle() else None


def _serve(fleet: Fleet, name: str, ready: list[Host], *, now: float, near: str | None) -> Serve | None:
    """Step 1. a) Hosts that flap or fail its requests are left out while there are others. b) Of those with a place the
    least busy; the near one unless it is clearly busier. c) No place, many wait, and memory is free elsewhere: another
    copy (`_another_copy`). d) Wait for a place."""
    trusted = [host for host in ready if host.trusted(name, now)] or ready  # a)
    free = [host for host in trusted if not host.full(name)]
    if free:  # b)
        best = min(free, key=lambda host: (host.busy(name), host.name))
        known = next((host for host in free if host.name == near), best)
        return Serve(best.name if _clearly_busier(known.busy(name), best.busy(name)) else known.name)
    return None


def _another_copy(
    fleet: Fleet, model: Model, policy: Policy, *, now: float, waiting: int, index: Index | None
) -> Load | None:
    name = model.id
    if not model.listed or not 0 < policy.replicate_after <= waiting or name in fleet.jobs:
        return None
    if index is not None:
        having = frozenset(fleet.located.get(name, ()))
        best = Search(index, model, now=now, exclude=having).best_free(steady=True)
    else:
        others = [host for host in fleet.hosts.values() if host.loads and name not in host.models]
        fresh = [host for host in others if host.steady(now) and not _resting(fleet, host, name, now)]
        best = best_free_plan(fleet, model.profile, [host for host in fresh if feasible(fleet, model.profile, host)])
    return None if best is None else Load(best)


def _clearly_busier(busy: int, least: int) -> bool:
    """Past an absolute and a relative margin: a prefix that is cached there is worth a short queue."""
    return busy > least + _BUSIER_BY and busy > least * _BUSIER_TIMES


def _on_the_way(fleet: Fleet, serving: list[Host], model: str) -> Wait | None:
    job = fleet.jobs.get(model)
    if job is not None:
        return Wait("loading", job.host)
    for states in (tuple(sorted(ON_THE_WAY)), _LEAVING):
        for host in serving:
            if host.has(model, *states):
                return Wait("loading" if states is not _LEAVING else "room", host.name)
    return None


def _only_there(serving: list[Host], model: str) -> Reject:
    for host in serving:
        if host.has(model, ModelState.FAILED):
            entry = host.models[model]
            kind = _error_class(entry.error_code)
            return Reject(kind=kind, message=entry.error or f"{model} failed to load on {host.name}.")
    return Reject(kind=errors.ServiceUnavailable, message=f"No host has {model} loaded now.", retry_after=5.0)


def _place(fleet: Fleet, model: Model, policy: Policy, hosts: list[Host], now: float, *, searched: bool) -> Decision:
    """Steps 5 to 10; `searched`: it is known that there is no plan."""
    profile = model.profile
    share = share_of(fleet, profile)
    could = [host for host in hosts if not host.devices or feasible(fleet, profile, host, share=share)]
    if not could:  # 5.
        return _impossible(fleet, model, hosts)
    there = [host for host in could if host.loads]
    if not there and any(host.duty is Duty.RESTARTING for host in could):
        return Wait("contact")
    if not there:  # 6.
        return Reject(kind=errors.ServiceUnavailable, message=_away(could), retry_after=5.0)
    fresh = [host for host in there if not _resting(fleet, host, model.id, now)]
    if not fresh:  # 7.
        return _failed(fleet, there, model.id, now)
    best = None if searched else _best_plan(fleet, model, policy, fresh, now)
    if best is not None:  # 8.
        return Load(best)
    if any(plan(fleet, profile, host, policy, now=now, once_idle=True) is not None for host in fresh):  # 9.
        return Wait("room")
    needed = needed_bytes(fleet, profile) or 0
    message = f"{model.id} needs {_mib(needed)}, and models that may not be evicted hold the memory."  # 10.
    return Reject(kind=errors.InsufficientMemory, message=message, retry_after=10.0, extras={"needed_bytes": needed})


def _best_plan(fleet: Fleet, model: Model, policy: Policy, hosts: list[Host], now: float) -> Plan | None:
    """On steady hosts before those that flap."""
    steady = [host for host in hosts if host.steady(now)]
    best = best_plan(fleet, model.profile, steady, policy, now=now)
    return (
        best
        if best is not None or len(steady) == len(hosts)
        else best_plan(fleet, model.profile, hosts, policy, now=now)
    )


def _impossible(fleet: Fleet, model: Model, hosts: list[Host]) -> Reject:
    """None of `hosts` could ever hold it: for now, where a host that failed the request could, else for good."""
    profile = model.profile
    if not fleet.hosts:
        why = "No neurons are configured: see [[neurons]]."
        return Reject(kind=errors.ServiceUnavailable, message=why, retry_after=5.0)
    looked_at = {host.name for host in hosts}
    left_out = [host for name, host in fleet.hosts.items() if name not in looked_at]
    could = [host for host in left_out if _has_or_could(fleet, model, host)]
    if could:
        return Reject(kind=errors.ServiceUnavailable, message=_away(could), retry_after=5.0)
    if profile.pinned_on and not set(profile.pinned_on) & set(fleet.hosts):
        names = ", ".join(profile.pinned_on)
        return Reject(kind=errors.NeverFits, message=f"{model.id} is pinned on {names}, which is no host of the fleet.")
    needed = needed_bytes(fleet, profile) or 0
    largest = max((device.total_bytes for host in hosts for device in host.devices), default=0)
    floor = f" with {profile.min_device_vram_mb} MiB each" if profile.min_device_vram_mb else ""
    message = (
        f"{model.id} fits no host: it needs {_mib(needed)} on {profile.min_devices} device(s){floor}; "
        f"the largest device has {_mib(largest)}."
    )
    return Reject(kind=errors.NeverFits, message=message, extras={"needed_bytes": needed, "total_bytes": largest})


def _has_or_could(fleet: Fleet, model: Model, host: Host) -> bool:
    if not host.ours:
        return model.id in host.models
    return not host.devices or feasible(fleet, model.profile, host)


def _away(could: list[Host]) -> str:
    return f"No host can serve now: {', '.join(map(_trouble, could[:5]))}."


def _trouble(host: Host) -> str:
    if host.reach is not Reach.UP:
        return f"{host.name} is {host.reach}"
    if host.status != "ok":
        return f"{host.name} is {host.status}"
    if host.duty is not Duty.ACTIVE:
        return f"{host.name} is {host.duty}"
    named = host.devices or not host.ours
    return f"{host.name} failed the request" if named else f"{host.name} has named no device yet"


def _resting(fleet: Fleet, host: Host, model: str, now: float) -> Failure | None:
    failure = fleet.failures.get((host.name, model))
    return failure if failure is not None and failure.holds(now) else None


def _failed(fleet: Fleet, there: list[Host], model: str, now: float) -> Reject:
    """The failure that is over first."""
    found = [(failure.until, host.name, failure) for host in there if (failure := _resting(fleet, host, model, now))]
    until, name, failure = min(found, key=lambda one: one[:2])
    kind = _error_class(failure.code)
    retry = None if issubclass(kind, errors.LoadError) else max(1.0, until - now)
    return Reject(kind=kind, message=f"{name} could not load {model}: {failure.message}", retry_after=retry)


def _error_class(code: str | None) -> type[CortexError]:
    """The class that a failed load is told with: those of loads and of capacity keep theirs, all else may pass."""
    return _LOAD_ERRORS.get(code or "", errors.ServiceUnavailable)


def _mib(count: int) -> str:
    return f"{count / (1024 * 1024):.0f} MiB"
