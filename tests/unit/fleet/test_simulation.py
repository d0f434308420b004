"""The policy in a simulated fleet: whatever dies, fails or bursts, no request is lost and no host is over-committed.

The world checks itself at every event: bytes of every host, evictions of models in use, one ending a request.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benches.simulate.trace import Scene, arrivals
from benches.simulate.world import Tally, World
from cortex.fleet.choosing import best_plan, free_plan
from cortex.fleet.eviction import Policy
from cortex.fleet.placement import plan, plan_rank, promises, share_of
from tests.unit.fleet.fleets import NAMES, NOW, fleets, policies

SCENES = st.builds(
    Scene,
    seed=st.integers(0, 10_000),
    hosts=st.integers(1, 6),
    models=st.integers(1, 25),
    seconds=st.just(60.0),
    rate=st.sampled_from((0.5, 3.0)),
    skew=st.sampled_from((0.0, 1.2)),
    deaths=st.sampled_from((0.0, 0.1)),
    bursts=st.sampled_from((0.0, 0.1)),
    load_failures=st.sampled_from((0.0, 0.3)),
    news_delay=st.sampled_from((0.0, 0.05, 3.0)),
    places=st.sampled_from((1, 4)),
)
RULES = st.builds(
    Policy,
    strategy=st.sampled_from(("lru", "priority")),
    min_residency_seconds=st.sampled_from((0.0, 20.0)),
    replicate_after=st.sampled_from((0, 3)),
)


def run(scene: Scene, rules: Policy) -> Tally:
    return World(scene, rules).run(arrivals(scene))


@settings(max_examples=40, deadline=None)
@given(SCENES, RULES)
def test_nothing_is_lost_and_nothing_is_promised_twice(scene: Scene, rules: Policy) -> None:
    tally = run(scene, rules)
    assert all(wait >= 0 for wait in tally.waits)


def test_the_same_seed_is_the_same_story() -> None:
    scene = Scene(seed=7, hosts=4, models=20, seconds=60.0, deaths=0.1, bursts=0.1)
    first, second = run(scene, Policy(replicate_after=3)), run(scene, Policy(replicate_after=3))
    assert (first.endings, first.waits, first.loads, first.stale) == (
        second.endings,
        second.waits,
        second.loads,
        second.stale,
    )
    assert first.endings != run(Scene(seed=8, hosts=4, models=20, seconds=60.0), Policy()).endings


def test_a_calm_fleet_with_room_serves_everybody_and_swaps_nothing() -> None:
    scene = Scene(hosts=20, models=20, seconds=120.0, load_failures=0.0)
    world = World(scene, Policy())
    tally = world.run(arrivals(scene))
    assert set(tally.endings) == {"warm", "cold"}
    assert sum(machine.evictions for machine in world.machines.values()) == 0


@pytest.mark.parametrize("seed", range(3))
def test_news_that_come_late_cost_another_plan_and_nothing_else(seed: int) -> None:
    scene = Scene(seed=seed, hosts=3, models=20, seconds=120.0, news_delay=2.0, load_failures=0.0)
    tally = run(scene, Policy())
    assert tally.stale > 0
    assert tally.endings["warm"] + tally.endings["cold"] > 0.9 * sum(tally.endings.values())


@given(fleets(), policies(), st.sampled_from(NAMES))
def test_the_quick_plan_is_the_plan_where_nobody_has_to_go(fleet: object, policy: Policy, name: str) -> None:
    profile = policy.catalogue.profiles[name]
    for host in fleet.hosts.values():  # type: ignore[attr-defined]
        whole = plan(fleet, profile, host, policy, now=NOW)  # type: ignore[arg-type]
        quick = free_plan(fleet, profile, host, promises(fleet), share_of(fleet, profile))  # type: ignore[arg-type]
        if quick is not None:
            assert whole == quick
        else:
            assert whole is None or whole.evict


@given(fleets(), policies(), st.sampled_from(NAMES))
def test_the_quick_choice_is_the_least_of_all_plans(fleet: object, policy: Policy, name: str) -> None:
    profile = policy.catalogue.profiles[name]
    hosts = list(fleet.hosts.values())  # type: ignore[attr-defined]
    plans = [made for host in hosts if (made := plan(fleet, profile, host, policy, now=NOW)) is not None]  # type: ignore[arg-type]
    assert best_plan(fleet, profile, hosts, policy, now=NOW) == min(plans, key=plan_rank, default=None)  # type: ignore[arg-type]
