"""How long decisions take in a fleet of 1,000 hosts and 5,000 models.

Run: pytest benches/test_policy.py --benchmark-enable
Aims: a request for a loaded model is routed within 200 us (p99); taking and giving back its lease costs less.
What a whole day does to a fleet is simulated: python -m benches.simulate --help
"""

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest
from msgspec.structs import replace
from pytest_benchmark.fixture import BenchmarkFixture

from cortex.config import ModelProfile
from cortex.fleet.catalogue import Catalogue, Model, resolve
from cortex.fleet.eviction import Policy
from cortex.fleet.index import Index
from cortex.fleet.scheduler import Load, Serve, Wait, decide
from cortex.fleet.state import MIB, Device, Fleet, Host, Reach, located_in
from cortex.fleet.transitions import leased, released
from cortex.protocol import ModelEntry, ModelLoad
from cortex.types import ModelState

T = TypeVar("T")
HOSTS, MODELS, NOW = 1000, 5000, 1_000_000.0


def large() -> tuple[Fleet, Policy, list[str]]:
    """Hosts of 48 GiB with eight models of 5 GiB each; every fifth model of the catalogue is nowhere."""
    dice = random.Random(1)
    names = [f"org/model-{number}" for number in range(MODELS)]
    resident = names[: MODELS * 4 // 5]
    hosts: dict[str, Host] = {}
    for number in range(HOSTS):
        models = dice.sample(resident, 8)
        entries = {
            name: ModelEntry(
                id=name, status=ModelState.LOADED, bytes=5120 * MIB, devices=(0,), last_used=NOW - dice.random() * 9000
            )
            for name in models
        }
        live = {name: ModelLoad(id=name, max_in_flight=32, max_queue_depth=64) for name in models}
        device = Device(index=0, total_bytes=48 * 1024 * MIB, free_bytes=8 * 1024 * MIB)
        name = f"host-{number}"
        hosts[name] = Host(
            name=name, endpoint=f"http://{name}", reach=Reach.UP, devices=(device,), models=entries, live=live
        )
    catalogue = Catalogue(profiles={name: ModelProfile(id=name, vram_mb=5120) for name in names})
    located = located_in(hosts)
    return Fleet(hosts=hosts, located=located), Policy(catalogue=catalogue, replicate_after=8), sorted(located)


@pytest.fixture(scope="module")
def world() -> tuple[Fleet, Policy, list[str]]:
    return large()


def test_route_to_a_loaded_model(world: tuple[Fleet, Policy, list[str]], benchmark: BenchmarkFixture) -> None:
    fleet, policy, loaded = world
    pick = cycling(loaded)

    def route() -> object:
        model = resolve(policy.catalogue, fleet, pick())
        return decide(fleet, model, policy, now=NOW, near="host-1")

    assert isinstance(benchmark(route), Serve)


def test_take_and_give_back_a_lease(world: tuple[Fleet, Policy, list[str]], benchmark: BenchmarkFixture) -> None:
    fleet, _, loaded = world
    pick = cycling(loaded)

    def lease() -> Fleet:
        model = pick()
        host = fleet.located[model][0]
        return released(leased(fleet, host, model), host, model, now=NOW)

    assert not benchmark(lease).hosts["host-1"].leases


@pytest.mark.parametrize("needed", [5, 12, 20, 40], ids=["free", "1-victim", "3-victims", "7-victims"])
def test_place_a_model_that_is_nowhere(
    needed: int, world: tuple[Fleet, Policy, list[str]], benchmark: BenchmarkFixture
) -> None:
    fleet, policy, _ = world
    index = Index(fleet, policy)
    model = Model(profile=ModelProfile(id="org/new", vram_mb=needed * 1024), listed=True)
    decision = benchmark(lambda: decide(fleet, model, policy, now=NOW, index=index))
    assert isinstance(decision, Load)
    assert bool(decision.evict) is (needed > 8)


def test_place_a_model_while_all_are_busy(world: tuple[Fleet, Policy, list[str]], benchmark: BenchmarkFixture) -> None:
    fleet, policy, _ = world
    hosts = {name: replace(host, leases=dict.fromkeys(host.models, 1)) for name, host in fleet.hosts.items()}
    busy = replace(fleet, hosts=hosts)
    index = Index(busy, policy)
    model = Model(profile=ModelProfile(id="org/new", vram_mb=20 * 1024), listed=True)
    assert benchmark(lambda: decide(busy, model, policy, now=NOW, index=index)) == Wait("room")


def test_take_over_what_happened_on_one_host(
    world: tuple[Fleet, Policy, list[str]], benchmark: BenchmarkFixture
) -> None:
    fleet, policy, _ = world
    host = fleet.hosts["host-1"]
    other = leased(fleet, "host-1", min(host.models))
    index, turns = Index(fleet, policy), cycling([other, fleet])
    benchmark(lambda: index.follow(turns()))


def cycling(names: Sequence[T]) -> Callable[[], T]:
    """Another one each time."""
    order = random.Random(2).sample(names, len(names))
    state = {"at": 0}

    def pick() -> T:
        state["at"] = (state["at"] + 1) % len(order)
        return order[state["at"]]

    return pick
