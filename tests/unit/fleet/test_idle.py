"""Models that nobody uses any more: which ones go, and which never."""

import pytest

from cortex.fleet.catalogue import Model
from cortex.fleet.eviction import idle_too_long
from cortex.fleet.membership import duty_given, pinned
from cortex.fleet.scheduler import Reject, Serve, Wait, decide
from cortex.fleet.state import Duty, Fleet, Job, Reach
from cortex.fleet.transitions import job_started, leased, released
from tests.unit.fleet.fleets import NOW, fleet, host, listed, loaded, policy

A = listed("a", 40, idle_ttl_secs=100.0)
# The last use ended 1000 s ago.
IDLE = fleet(host("beast", 100, models=(loaded("a", 40),)))


def gone(state: Fleet, model: Model = A, **rules: object) -> list[tuple[str, str]]:
    return idle_too_long(state, policy(model, **rules), now=NOW)


def test_a_model_goes_after_its_time_and_not_before() -> None:
    assert gone(IDLE) == [("beast", "a")]
    used = released(leased(IDLE, "beast", "a"), "beast", "a", now=NOW - 99)
    assert gone(used) == []


@pytest.mark.parametrize(
    ("own", "usual", "goes"), [(None, 0.0, False), (None, 100.0, True), (0.0, 100.0, False), (2000.0, 100.0, False)]
)
def test_its_own_time_counts_before_the_usual(own: float | None, usual: float, goes: bool) -> None:
    model = listed("a", 40, idle_ttl_secs=own)
    assert bool(gone(IDLE, model, idle_ttl_seconds=usual)) is goes


def test_who_stays() -> None:
    assert gone(leased(IDLE, "beast", "a")) == [], "in use"
    assert gone(pinned(IDLE, "a", "beast")) == [], "pinned by hand"
    assert gone(IDLE, listed("a", 40, idle_ttl_secs=1.0, pinned_on=("beast",))) == [], "pinned by its profile"
    assert gone(IDLE, listed("b", 40), idle_ttl_seconds=1.0) == [], "not of the catalogue"
    assert gone(job_started(IDLE, Job(model="a", host="quad", since=NOW))) == [], "wanted"
    assert gone(fleet(host("beast", 100, models=(loaded("a", 40),), reach=Reach.DOWN))) == [], "nobody to ask"
    assert gone(IDLE, min_residency_seconds=5000.0) == [], "too young"


def test_a_host_that_begins_anew_is_waited_for() -> None:
    state = duty_given(IDLE, "beast", Duty.RESTARTING)
    assert decide(state, A, policy(A), now=NOW) == Wait("contact")
    assert isinstance(decide(duty_given(IDLE, "beast", Duty.DRAINED), A, policy(A), now=NOW), Reject)
    both = fleet(*state.hosts.values(), host("quad", 100, models=(loaded("a", 40),)))
    assert decide(both, A, policy(A), now=NOW) == Serve("quad")
