"""What holds for every fleet: nobody exempt is evicted, enough is freed or nothing, nothing is promised twice."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cortex.config import ModelProfile
from cortex.fleet.catalogue import Model
from cortex.fleet.eviction import Candidate, Policy, choose_victims
from cortex.fleet.placement import available, needed_bytes
from cortex.fleet.scheduler import Load, Reject, Serve, Wait, decide
from cortex.fleet.state import Fleet, Job, Reach
from cortex.fleet.transitions import job_started
from cortex.types import ModelState
from tests.unit.fleet.fleets import NAMES, NOW, fleets, policies

NAME = st.sampled_from(NAMES)


def wanted(policy: Policy, name: str) -> Model:
    return Model(profile=policy.catalogue.profiles[name], listed=True)


@given(fleets(), policies(), NAME)
def test_nobody_exempt_is_evicted(fleet: Fleet, policy: Policy, name: str) -> None:
    decision = decide(fleet, wanted(policy, name), policy, now=NOW)
    if not isinstance(decision, Load):
        return
    host = fleet.hosts[decision.host]
    for victim in decision.evict:
        entry = host.models[victim]
        assert entry.status is ModelState.LOADED
        assert host.name not in policy.catalogue.profiles[victim].pinned_on
        assert entry.in_flight == 0
        assert host.leases.get(victim, 0) == 0
        assert victim not in fleet.jobs
        assert entry.loaded_at is None or entry.loaded_at + policy.min_residency_seconds <= NOW
        if policy.strategy == "priority":
            assert policy.priority(victim) <= policy.priority(name)


@given(fleets(), policies(), NAME)
def test_a_load_has_enough_on_every_device_once_its_victims_left(fleet: Fleet, policy: Policy, name: str) -> None:
    decision = decide(fleet, wanted(policy, name), policy, now=NOW)
    if not isinstance(decision, Load):
        return
    profile: ModelProfile = policy.catalogue.profiles[name]
    host = fleet.hosts[decision.host]
    made = decision.plan
    assert host.serving
    assert not profile.pinned_on or host.name in profile.pinned_on
    assert len(made.devices) == len(set(made.devices)) == profile.min_devices
    assert made.share_bytes * profile.min_devices >= (needed_bytes(fleet, profile) or 0)
    for device in host.devices:
        if device.index in made.devices and made.share_bytes:
            freed = sum(freed_bytes(fleet, host.name, victim, device.index, policy) for victim in made.evict)
            assert available(fleet, host, device) + freed >= made.share_bytes


@given(fleets(), policies(), NAME)
def test_no_victim_is_needless(fleet: Fleet, policy: Policy, name: str) -> None:
    decision = decide(fleet, wanted(policy, name), policy, now=NOW)
    if not isinstance(decision, Load):
        return
    host = fleet.hosts[decision.host]
    free = {device.index: available(fleet, host, device) for device in host.devices}
    for spared in decision.evict:
        rest = [victim for victim in decision.evict if victim != spared]
        assert any(
            free[index] + sum(freed_bytes(fleet, host.name, victim, index, policy) for victim in rest)
            < decision.plan.share_bytes
            for index in decision.plan.devices
        )


def freed_bytes(fleet: Fleet, host: str, victim: str, device: int, policy: Policy) -> int:
    entry = fleet.hosts[host].models[victim]
    guess = (policy.catalogue.profiles[victim].vram_mb or 0) * 1024 * 1024
    return (entry.bytes or guess) // len(entry.devices) if device in entry.devices else 0


@given(fleets(), policies(), NAME)
def test_a_decision_depends_on_its_arguments_alone(fleet: Fleet, policy: Policy, name: str) -> None:
    shuffled = replace(fleet, hosts=dict(reversed(fleet.hosts.items())))
    first = decide(fleet, wanted(policy, name), policy, now=NOW)
    assert decide(fleet, wanted(policy, name), policy, now=NOW) == first
    assert decide(shuffled, wanted(policy, name), policy, now=NOW) == first


@given(fleets(), policies(), st.lists(NAME, max_size=6))
def test_loads_decided_one_after_another_never_promise_a_byte_twice(
    fleet: Fleet, policy: Policy, names: list[str]
) -> None:
    ours = []
    for name in names:
        decision = decide(fleet, wanted(policy, name), policy, now=NOW)
        if isinstance(decision, Load):
            made = decision.plan
            claimed = {victim for job in fleet.jobs.values() if job.host == made.host for victim in job.evict}
            assert not claimed & set(made.evict)
            job = Job(model=name, host=made.host, since=NOW, devices=made.devices, share_bytes=made.share_bytes)
            ours.append(replace(job, evict=made.evict))
            fleet = job_started(fleet, ours[-1])
    for host in fleet.hosts.values():
        for device in host.devices:
            jobs = [job for job in ours if job.host == host.name and device.index in job.devices]
            promised = sum(job.share_bytes for job in jobs)
            freed = sum(
                freed_bytes(fleet, host.name, victim, device.index, policy) for job in jobs for victim in job.evict
            )
            assert promised == 0 or promised <= (device.free_bytes or 0) + freed


@given(fleets(), policies(), NAME, st.sets(st.sampled_from(("beast", "quadbrat", "small"))))
def test_every_answer_is_possible(fleet: Fleet, policy: Policy, name: str, exclude: set[str]) -> None:
    decision = decide(fleet, wanted(policy, name), policy, now=NOW, exclude=frozenset(exclude))
    match decision:
        case Serve(host):
            assert host not in exclude
            assert fleet.hosts[host].serving
            assert fleet.hosts[host].models[name].status is ModelState.LOADED
        case Load():
            assert decision.host not in exclude
            assert name not in fleet.jobs
            assert not fleet.hosts[decision.host].has(name, ModelState.LOADED, ModelState.LOADING)
        case Wait(reason):
            waiting = {
                "contact": any(host.reach is Reach.UNKNOWN for host in fleet.hosts.values()),
                "loading": True,
                "room": bool(fleet.jobs) or any(host.models for host in fleet.hosts.values()),
            }
            assert waiting[reason]
        case Reject():
            assert decision.status in (422, 503)
            assert decision.error().message
            assert decision.status == 422 or (decision.error().retry_after or 0) > 0


CANDIDATE = st.builds(
    Candidate,
    model=st.text("abcdefgh", min_size=1, max_size=8),
    last_use=st.floats(0, 100),
    priority=st.just(0),
    frees=st.dictionaries(st.integers(0, 2), st.integers(0, 10)),
)


@given(
    st.lists(CANDIDATE, max_size=6, unique_by=lambda one: one.model),
    st.dictionaries(st.integers(0, 2), st.integers(1, 20)),
)
def test_enough_is_freed_or_nothing(order: list[Candidate], shortage: dict[int, int]) -> None:
    victims = choose_victims(order, shortage)
    total = {device: sum(one.frees.get(device, 0) for one in order) for device in shortage}
    if victims is None:
        assert any(total[device] < lack for device, lack in shortage.items())
    else:
        for device, lack in shortage.items():
            assert sum(one.frees.get(device, 0) for one in victims) >= lack
