"""How the fleet's value changes: contacts, misses, leases, load jobs. The only place that makes new states.

Health is damped: one success is up, a refused connection is down at once, silence is down after three misses. What it
costs to go away again and again is said in `trust`.
"""

from msgspec.structs import replace

from cortex.errors import CortexError, InsufficientMemory, LoadError
from cortex.fleet.replacing import dropped, put, with_host
from cortex.fleet.state import MIB, REST_LIMIT, Device, Failure, Fleet, Host, Job, Reach
from cortex.fleet.trust import went_down
from cortex.protocol import DeviceHealth, Discovery, Health, ModelEntry, NeuronEvent
from cortex.types import ModelState

__all__ = [
    "MISSES_UNTIL_DOWN",
    "discovered",
    "event_seen",
    "health_seen",
    "job_ended",
    "job_started",
    "leased",
    "load_failed",
    "missed",
    "models_seen",
    "refused",
    "released",
]

MISSES_UNTIL_DOWN = 3
_COOL_DOWN_SECONDS = 2.0


def discovered(fleet: Fleet, name: str, found: Discovery) -> Fleet:
    """A host said what it is. A new epoch is a new process: what we knew of its models is void."""
    host = fleet.hosts[name]
    known = {device.index: device for device in host.devices}
    devices = tuple(
        replace(
            known.get(info.index, Device(index=info.index)),
            name=info.name,
            kind=info.kind,
            total_bytes=info.vram_total_mb * MIB,
        )
        for info in found.devices
    )
    host = replace(_new_epoch(host, found.epoch), devices=devices, version=found.version)
    return _met(fleet, host)


def models_seen(fleet: Fleet, name: str, entries: tuple[ModelEntry, ...]) -> Fleet:
    """The host's whole list of models."""
    host = fleet.hosts[name]
    return _met(fleet, replace(host, models={entry.id: entry for entry in entries}))


def health_seen(fleet: Fleet, name: str, health: Health) -> Fleet:
    """Live figures of the host."""
    host = _new_epoch(fleet.hosts[name], health.epoch)
    return _met(fleet, _measured(host, health))


def event_seen(fleet: Fleet, name: str, event: NeuronEvent) -> Fleet:
    """One event of the host's stream: 1. snapshot replaces its models, 2. model changes one (absent removes it),
    3. draining ends its service, 4. health rides along with any."""
    host = _new_epoch(fleet.hosts[name], event.epoch)
    models = dict(host.models)
    if event.kind == "snapshot":  # 1.
        models = {}
    for entry in event.models:  # 2.
        if entry.status is ModelState.ABSENT:
            models.pop(entry.id, None)
        else:
            models[entry.id] = entry
    host = replace(host, models=models, revision=event.revision)
    if event.kind == "draining":  # 3.
        host = replace(host, status="draining")
    if event.health is not None:  # 4.
        host = replace(_measured(host, event.health), revision=max(event.revision, event.health.revision))
    return _met(fleet, host)


def missed(fleet: Fleet, name: str, *, now: float) -> Fleet:
    """The host did not answer in time; down after three such in a row, and at once where it was never met."""
    host = replace(fleet.hosts[name], misses=fleet.hosts[name].misses + 1)
    if host.misses >= MISSES_UNTIL_DOWN or host.reach is not Reach.UP:
        host = went_down(host, now)
    return with_host(fleet, host)


def refused(fleet: Fleet, name: str, *, now: float) -> Fleet:
    """The host refused the connection: nobody listens there."""
    host = replace(fleet.hosts[name], misses=fleet.hosts[name].misses + 1)
    return with_host(fleet, went_down(host, now))


def leased(fleet: Fleet, name: str, model: str) -> Fleet:
    """A request of this gateway starts to use the model."""
    host = fleet.hosts[name]
    return with_host(fleet, replace(host, leases=put(host.leases, model, host.leases.get(model, 0) + 1)))


def released(fleet: Fleet, name: str, model: str, *, now: float) -> Fleet:
    """That use ended; what the host reported most likely counted it, and its next figures are seconds away."""
    host = fleet.hosts[name]
    left = host.leases.get(model, 0) - 1
    assert left >= 0, "a lease is given back once"
    leases = put(host.leases, model, left) if left else dropped(host.leases, model)
    reported = put(host.reported, model, max(0, host.heard(model) - 1))
    return with_host(fleet, replace(host, leases=leases, reported=reported, used=put(host.used, model, now)))


def job_started(fleet: Fleet, job: Job) -> Fleet:
    """A load is under way."""
    assert job.model not in fleet.jobs, "one load job a model"
    return replace(fleet, jobs=put(fleet.jobs, job.model, job))


def job_ended(fleet: Fleet, model: str) -> Fleet:
    """The load of the model is over and done: past failures of it there are forgotten."""
    job = fleet.jobs[model]
    failures = dropped(fleet.failures, (job.host, model))
    return replace(fleet, jobs=dropped(fleet.jobs, model), failures=failures)


def load_failed(fleet: Fleet, model: str, error: CortexError, *, now: float, plan: bool = False) -> Fleet:
    """The load failed; a host that says how much it needs teaches the size. 1. Where the plan was at fault, or the
    size is news, another plan may differ: no pause. 2. Else the host rests for this model, longer each time."""
    job = fleet.jobs[model]
    needed = error.extras.get("needed_bytes")
    sizes = put(fleet.sizes, model, needed) if isinstance(needed, int) and needed > 0 else fleet.sizes
    news = isinstance(error, InsufficientMemory) and sizes.get(model) != fleet.sizes.get(model)
    fleet = replace(fleet, jobs=dropped(fleet.jobs, model), sizes=sizes)
    if plan or news:  # 1.
        return fleet
    key = (job.host, model)  # 2.
    count = fleet.failures[key].count + 1 if key in fleet.failures else 1
    rest = _COOL_DOWN_SECONDS * 2 ** min(count - 1, 8) if isinstance(error, LoadError) else float(count)
    until = now + min(max(rest, error.retry_after or 0.0), REST_LIMIT)
    failure = Failure(code=error.code, message=error.message, count=count, until=until)
    return replace(fleet, failures=put(fleet.failures, key, failure))


def _new_epoch(host: Host, epoch: str) -> Host:
    if host.epoch == epoch:
        return host
    return replace(host, epoch=epoch, revision=0, models={}, live={}, reported={}, faults={}, status="ok")


def _measured(host: Host, health: Health) -> Host:
    figures = {device.index: device for device in health.devices}
    devices = tuple(_live(device, figures.get(device.index)) for device in host.devices)
    live = {load.id: load for load in health.models}
    reported = {load.id: load.in_flight + load.queue_depth for load in health.models}
    return replace(host, devices=devices, live=live, reported=reported, status=health.status, revision=health.revision)


def _live(device: Device, health: DeviceHealth | None) -> Device:
    if health is None:
        return device
    return replace(
        device,
        total_bytes=device.total_bytes or (health.vram_used_mb + health.vram_free_mb) * MIB,
        free_bytes=health.vram_free_mb * MIB,
        reserved_bytes=health.reserved_mb * MIB,
        utilization_pct=health.utilization_pct,
        temp_c=health.temp_c,
    )


def _met(fleet: Fleet, host: Host) -> Fleet:
    """A contact. 1. The host is up. 2. One that was down gets new chances for failed loads. 3. The sizes of what it
    has loaded are kept, also for the time after it is gone: the least it takes, since a host with much room gives a
    model more than another one needs to."""
    failures = fleet.failures
    if fleet.hosts[host.name].reach is not Reach.UP:  # 2.
        failures = {key: failure for key, failure in failures.items() if key[0] != host.name}
    sizes = dict(fleet.sizes)
    for entry in host.models.values():  # 3.
        if entry.status is ModelState.LOADED and entry.bytes > 0:
            sizes[entry.id] = entry.least_bytes or entry.bytes
    return with_host(replace(fleet, failures=failures, sizes=sizes), replace(host, reach=Reach.UP, misses=0))
