"""How contacts, misses, leases and loads change the fleet."""

import pytest

from cortex.errors import InsufficientMemory, ModelFileInvalid
from cortex.fleet.placement import feasible
from cortex.fleet.scheduler import Load, Reject, Wait, decide
from cortex.fleet.state import MIB, Fleet, Host, Job, Reach
from cortex.fleet.transitions import (
    discovered,
    event_seen,
    health_seen,
    job_ended,
    job_started,
    leased,
    load_failed,
    missed,
    models_seen,
    refused,
    released,
)
from cortex.protocol import DeviceHealth, DeviceInfo, Discovery, Health, ModelEntry, ModelLoad, NeuronEvent
from cortex.types import ModelState
from tests.unit.fleet.fleets import NOW, fleet, host, listed, loaded, policy

NEW = Fleet(hosts={"beast": Host(name="beast", endpoint="http://beast:13131")})
FOUND = Discovery(
    hostname="b",
    os="Linux",
    kernel="6",
    epoch="1",
    version="0.1",
    devices=(DeviceInfo(index=0, name="g", vram_total_mb=90),),
)
HEALTH = Health(
    status="ok",
    uptime_secs=1,
    epoch="1",
    revision=4,
    devices=(DeviceHealth(index=0, vram_used_mb=30, vram_free_mb=60, reserved_mb=5),),
    models=(ModelLoad(id="a", in_flight=1, queue_depth=2),),
)


def test_a_first_contact_makes_a_host_whole() -> None:
    known = health_seen(discovered(NEW, "beast", FOUND), "beast", HEALTH).hosts["beast"]
    assert known.reach is Reach.UP
    assert known.revision == 4
    assert known.busy("a") == 3
    device = known.devices[0]
    assert (device.total_bytes, device.free_bytes, device.reserved_bytes) == (90 * MIB, 60 * MIB, 5 * MIB)


def test_three_misses_are_down_and_one_success_is_up() -> None:
    state = discovered(NEW, "beast", FOUND)
    for expected in (Reach.UP, Reach.UP, Reach.DOWN):
        state = missed(state, "beast", now=NOW)
        assert state.hosts["beast"].reach is expected
    state = health_seen(state, "beast", HEALTH)
    assert (state.hosts["beast"].reach, state.hosts["beast"].misses) == (Reach.UP, 0)


def test_a_refused_connection_is_down_at_once_and_so_is_a_first_silence() -> None:
    assert refused(discovered(NEW, "beast", FOUND), "beast", now=NOW).hosts["beast"].reach is Reach.DOWN
    assert missed(NEW, "beast", now=NOW).hosts["beast"].reach is Reach.DOWN


def test_a_new_process_on_the_host_forgets_the_old_ones_models() -> None:
    state = fleet(host("beast", 100, models=(loaded("a", 10),), revision=9))
    again = event_seen(state, "beast", NeuronEvent(kind="health", epoch="2", revision=1))
    assert again.hosts["beast"].models == {}
    assert again.hosts["beast"].revision == 1


def test_events_replace_change_and_remove_models() -> None:
    state = event_seen(NEW, "beast", NeuronEvent(kind="snapshot", epoch="1", revision=1, models=(loaded("a", 10),)))
    state = event_seen(state, "beast", NeuronEvent(kind="model", epoch="1", revision=2, models=(loaded("b", 20),)))
    assert set(state.hosts["beast"].models) == {"a", "b"}
    gone = ModelEntry(id="a", status=ModelState.ABSENT)
    state = event_seen(state, "beast", NeuronEvent(kind="model", epoch="1", revision=3, models=(gone,)))
    assert set(state.hosts["beast"].models) == {"b"}
    assert state.sizes == {"a": 10 * MIB, "b": 20 * MIB}
    state = event_seen(state, "beast", NeuronEvent(kind="draining", epoch="1", revision=4))
    assert not state.hosts["beast"].serving
    assert models_seen(state, "beast", ()).hosts["beast"].models == {}


def test_a_model_that_took_all_the_room_of_a_large_host_still_fits_a_smaller_one() -> None:
    wide = loaded("a", 90, least_bytes=30 * MIB)
    event = NeuronEvent(kind="snapshot", epoch="1", revision=1, models=(wide,))
    state = event_seen(fleet(host("beast", 100), host("small", 40)), "beast", event)
    assert state.sizes == {"a": 30 * MIB}
    assert feasible(state, listed("a").profile, state.hosts["small"])


def test_a_request_that_ended_is_not_held_against_the_model_by_an_older_word_of_the_host() -> None:
    seen = (loaded("a", 10, in_flight=1),)
    state = models_seen(leased(fleet(host("beast", 100, models=(loaded("a", 10),))), "beast", "a"), "beast", seen)
    assert state.hosts["beast"].busy("a") == 1
    state = released(state, "beast", "a", now=NOW)
    assert state.hosts["beast"].busy("a") == 0
    state = fleet(host("beast", 100, models=seen, reported={"a": 0}))
    assert state.hosts["beast"].busy("a") == 0


def test_what_others_do_on_the_host_still_counts_after_our_own_use() -> None:
    state = leased(fleet(host("beast", 100, models=(loaded("a", 10),), reported={"a": 3})), "beast", "a")
    assert released(state, "beast", "a", now=NOW).hosts["beast"].busy("a") == 2


def test_leases_count_and_the_end_of_the_last_use_is_kept() -> None:
    state = fleet(host("beast", 100, models=(loaded("a", 10),)))
    state = leased(leased(state, "beast", "a"), "beast", "a")
    assert state.hosts["beast"].busy("a") == 2
    state = released(released(state, "beast", "a", now=NOW), "beast", "a", now=NOW + 1)
    assert state.hosts["beast"].busy("a") == 0
    assert state.hosts["beast"].last_use("a") == NOW + 1
    with pytest.raises(AssertionError):
        released(state, "beast", "a", now=NOW)


JOB = Job(model="a", host="beast", since=NOW)


def test_a_failed_load_rests_longer_each_time() -> None:
    state, rests = fleet(host("beast", 100)), []
    for _ in range(4):
        state = load_failed(job_started(state, JOB), "a", ModelFileInvalid("cut"), now=NOW)
        rests.append(state.failures[("beast", "a")].until - NOW)
    assert rests == [2, 4, 8, 16]
    assert state.failures[("beast", "a")].code == "model_file_invalid"
    assert job_ended(job_started(state, JOB), "a").failures == {}


def test_a_host_that_says_how_much_it_needs_is_asked_again_at_once_but_only_once() -> None:
    error = InsufficientMemory("no", extras={"needed_bytes": 70})
    state = load_failed(job_started(fleet(host("beast", 100)), JOB), "a", error, now=NOW)
    assert state.sizes == {"a": 70}
    assert state.failures == {}
    state = load_failed(job_started(state, JOB), "a", error, now=NOW)
    assert ("beast", "a") in state.failures


def test_a_host_that_comes_back_gets_new_chances() -> None:
    state = load_failed(job_started(fleet(host("beast", 100)), JOB), "a", ModelFileInvalid("cut"), now=NOW)
    assert discovered(refused(state, "beast", now=NOW), "beast", FOUND).failures == {}
    assert discovered(state, "beast", FOUND).failures == state.failures


def test_a_clock_that_is_set_back_ends_a_rest_and_a_minimum_stay() -> None:
    earlier = NOW - 86_400
    state = load_failed(job_started(fleet(host("beast", 100)), JOB), "a", ModelFileInvalid("cut"), now=NOW)
    assert isinstance(decide(state, listed("a", 40), policy(listed("a", 40)), now=NOW), Reject)
    assert isinstance(decide(state, listed("a", 40), policy(listed("a", 40)), now=earlier), Load)
    young = fleet(host("beast", 50, models=(loaded("b", 40, loaded_at=NOW - 1),)))
    rules = policy(listed("a", 40), min_residency_seconds=60.0)
    assert isinstance(decide(young, listed("a", 40), rules, now=NOW), Wait)
    assert isinstance(decide(young, listed("a", 40), rules, now=earlier), Load)
