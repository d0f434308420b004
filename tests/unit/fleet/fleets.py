"""Fleets for tests: short ways to write one down, and hypothesis strategies that make them up."""

from hypothesis import strategies as st

from cortex.config import ModelProfile
from cortex.fleet.catalogue import Catalogue, Model
from cortex.fleet.eviction import Policy
from cortex.fleet.state import MIB, Device, Fleet, Host, Job, Reach, located_in
from cortex.protocol import ModelEntry
from cortex.types import ModelState

NOW = 1_000_000.0
NAMES = ("a", "b", "c", "d", "e")
HOSTS = ("beast", "quadbrat", "small")


def loaded(name: str, mb: int, *, used: float = 0.0, **more: object) -> ModelEntry:
    """A loaded model of so many MB."""
    fields = {"devices": (0,), "last_used": NOW - 1000 + used, "loaded_at": NOW - 2000, **more}
    return ModelEntry(id=name, status=ModelState.LOADED, bytes=mb * MIB, **fields)


def host(name: str, *totals: int, models: tuple[ModelEntry, ...] = (), **more: object) -> Host:
    """A host that is up, with devices of so many MB, whose free memory is what the models leave."""
    devices = []
    for index, total in enumerate(totals):
        taken = sum(entry.bytes // len(entry.devices) for entry in models if index in entry.devices)
        devices.append(Device(index=index, total_bytes=total * MIB, free_bytes=total * MIB - taken))
    fields = {"reach": Reach.UP, "epoch": "1", **more}
    known = {entry.id: entry for entry in models}
    return Host(name=name, endpoint=f"http://{name}:13131", devices=tuple(devices), models=known, **fields)


def fleet(*hosts: Host, **more: object) -> Fleet:
    """A fleet of these hosts."""
    known = {one.name: one for one in hosts}
    return Fleet(hosts=known, located=located_in(known), **more)


def listed(name: str, mb: int | None = None, **more: object) -> Model:
    """A model of the catalogue."""
    return Model(profile=ModelProfile(id=name, vram_mb=mb, **more), listed=True)


def policy(*models: Model, **more: object) -> Policy:
    """The policy over these models."""
    return Policy(catalogue=Catalogue(profiles={model.id: model.profile for model in models}), **more)


@st.composite
def profiles(draw: st.DrawFn) -> dict[str, ModelProfile]:
    """One profile for each name."""
    return {
        name: ModelProfile(
            id=name,
            vram_mb=draw(st.one_of(st.none(), st.integers(1, 120))),
            min_devices=draw(st.sampled_from((1, 1, 1, 2))),
            min_device_vram_mb=draw(st.sampled_from((None, None, 40, 80))),
            pinned_on=tuple(draw(st.sets(st.sampled_from(HOSTS), max_size=1))),
            residency_priority=draw(st.one_of(st.none(), st.integers(0, 3))),
        )
        for name in NAMES
    }


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """A catalogue of all names, either strategy, with and without a minimum stay."""
    return Policy(
        catalogue=Catalogue(profiles=draw(profiles())),
        strategy=draw(st.sampled_from(("lru", "priority"))),
        min_residency_seconds=draw(st.sampled_from((0.0, 50.0))),
    )


@st.composite
def entries(draw: st.DrawFn, name: str, devices: int) -> ModelEntry:
    """A model in any state, in use or not."""
    return ModelEntry(
        id=name,
        status=draw(st.sampled_from([state for state in ModelState if state is not ModelState.ABSENT])),
        bytes=draw(st.integers(0, 60)) * MIB,
        devices=tuple(sorted(draw(st.sets(st.integers(0, devices - 1), min_size=1)))),
        in_flight=draw(st.sampled_from((0, 0, 0, 2))),
        last_used=draw(st.one_of(st.none(), st.floats(0, NOW))),
        loaded_at=draw(st.one_of(st.none(), st.floats(NOW - 100, NOW))),
    )


@st.composite
def hosts(draw: st.DrawFn, name: str) -> Host:
    """A host of any health; what its models take is not free."""
    count = draw(st.integers(1, 3))
    models = tuple(draw(entries(one, count)) for one in sorted(draw(st.sets(st.sampled_from(NAMES), max_size=4))))
    totals = [draw(st.integers(20, 100)) for _ in range(count)]
    for index in range(count):
        taken = sum(entry.bytes // len(entry.devices) for entry in models if index in entry.devices)
        totals[index] = max(totals[index], -(-taken // MIB))
    leases = {one.id: 1 for one in models if draw(st.booleans()) and draw(st.booleans())}
    return host(
        name,
        *totals,
        models=models,
        reach=draw(st.sampled_from((Reach.UP, Reach.UP, Reach.UP, Reach.DOWN, Reach.UNKNOWN))),
        status=draw(st.sampled_from(("ok", "ok", "ok", "draining"))),
        leases=leases,
    )


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    """One to three hosts, perhaps with a load under way."""
    made = fleet(*(draw(hosts(name)) for name in HOSTS[: draw(st.integers(1, 3))]))
    if not draw(st.booleans()):
        return made
    where = draw(st.sampled_from(sorted(made.hosts)))
    job = Job(
        model=draw(st.sampled_from(NAMES)),
        host=where,
        since=NOW,
        devices=(0,),
        share_bytes=draw(st.integers(0, 50)) * MIB,
        evict=tuple(sorted(made.hosts[where].models))[: draw(st.integers(0, 1))],
    )
    return fleet(*made.hosts.values(), jobs={job.model: job})
