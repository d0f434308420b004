"""Hosts that flap or fail, hosts that an operator holds back, places that are taken: who is asked then."""

from msgspec.structs import replace

from cortex.fleet.membership import duty_given, hosts_listed, pinned, unpinned
from cortex.fleet.scheduler import Load, Reject, Serve, Wait, decide
from cortex.fleet.state import Duty, Fleet, Reach, located_in
from cortex.fleet.transitions import leased, models_seen, refused, released
from cortex.fleet.trust import FAULTS_UNTIL_OPEN, request_failed, request_served
from cortex.protocol import ModelLoad
from tests.unit.fleet.fleets import NOW, fleet, host, listed, loaded, policy

A = listed("a", 40)
BOTH = fleet(host("beast", 100, models=(loaded("a", 40),)), host("quad", 100, models=(loaded("a", 40),)))


def up_again(state: Fleet, name: str) -> Fleet:
    return models_seen(state, name, (loaded("a", 40),))


def flapped(state: Fleet, name: str, times: int) -> Fleet:
    for step in range(times):
        state = up_again(refused(state, name, now=NOW + step), name)
    return state


def where(state: Fleet, now: float = NOW + 20, **more: object) -> object:
    return decide(state, A, policy(A), now=now, **more)


def test_one_that_went_away_once_is_asked_as_soon_as_it_is_back() -> None:
    assert where(flapped(BOTH, "beast", 1), NOW) == Serve("beast")


def test_one_that_flaps_is_left_to_others_for_longer_and_longer() -> None:
    held = [flapped(BOTH, "beast", times).hosts["beast"].held_until for times in (2, 3, 4, 5)]
    assert [until - NOW for until in held] == [3, 6, 11, 20]
    state = flapped(BOTH, "beast", 5)
    assert where(state, NOW + 5) == Serve("quad")
    assert where(state, NOW + 21) == Serve("beast")
    forgotten = refused(state, "beast", now=NOW + 1000)
    assert forgotten.hosts["beast"].held_until == 0.0


def test_one_that_flaps_still_serves_where_no_other_can() -> None:
    state = flapped(fleet(host("beast", 100, models=(loaded("a", 40),))), "beast", 5)
    assert where(state, NOW + 5) == Serve("beast")


def test_requests_that_fail_in_a_row_open_the_circuit_of_that_model_there() -> None:
    state = BOTH
    for _ in range(FAULTS_UNTIL_OPEN - 1):
        state = request_failed(state, "beast", "a", now=NOW)
    assert where(state, NOW) == Serve("beast")
    state = request_failed(state, "beast", "a", now=NOW)
    assert where(state, NOW + 1) == Serve("quad")
    assert where(state, NOW + 3) == Serve("beast"), "half open: it may show that it can"
    again = request_failed(state, "beast", "a", now=NOW + 3)
    assert again.hosts["beast"].faults["a"].until == NOW + 3 + 4
    assert where(request_served(again, "beast", "a"), NOW + 3) == Serve("beast")


def test_nobody_is_lost_where_every_circuit_is_open() -> None:
    state = BOTH
    for name in ("beast", "quad"):
        for _ in range(FAULTS_UNTIL_OPEN):
            state = request_failed(state, name, "a", now=NOW)
    assert isinstance(where(state, NOW + 1), Serve)


def test_a_host_that_left_the_configuration_has_no_faults() -> None:
    gone = hosts_listed(BOTH, [BOTH.hosts["quad"]])
    assert request_failed(gone, "beast", "a", now=NOW) == gone
    assert request_served(gone, "beast", "a") == gone


def test_a_cordoned_host_serves_and_loads_nothing_a_drained_one_neither() -> None:
    one = fleet(host("beast", 100, models=(loaded("a", 40),)))
    b = listed("b", 10)
    cordoned = duty_given(one, "beast", Duty.CORDONED)
    assert where(cordoned) == Serve("beast")
    refusal = decide(cordoned, b, policy(A, b), now=NOW)
    assert isinstance(refusal, Reject)
    assert "beast is cordoned" in refusal.message
    assert isinstance(where(duty_given(one, "beast", Duty.DRAINED)), Reject)
    assert where(duty_given(cordoned, "beast", Duty.ACTIVE)) == Serve("beast")
    elsewhere = decide(duty_given(BOTH, "beast", Duty.DRAINED), A, policy(A), now=NOW)
    assert elsewhere == Serve("quad")


def test_a_pin_by_hand_keeps_a_model_until_it_is_taken_back() -> None:
    b = listed("b", 80)
    state = fleet(host("beast", 100, models=(loaded("a", 40),)))
    rules = policy(A, b)
    assert isinstance(decide(state, b, rules, now=NOW), Load)
    held = pinned(state, "a", "beast")
    assert isinstance(decide(held, b, rules, now=NOW), Reject)
    assert isinstance(decide(unpinned(held, "a", "beast"), b, rules, now=NOW), Load)


def with_places(state: Fleet, name: str, places: int, busy: int = 0) -> Fleet:
    """The host says how many requests of `a` it runs at once, and we have so many there."""
    live = {"a": ModelLoad(id="a", max_in_flight=places)}
    one = replace(state.hosts[name], live=live, leases={"a": busy} if busy else {})
    return replace(state, hosts={**state.hosts, name: one})


def test_the_next_request_waits_for_a_place_and_takes_the_first_that_is_free() -> None:
    state = with_places(with_places(BOTH, "beast", 2, 2), "quad", 2, 1)
    assert where(state) == Serve("quad")
    full = leased(state, "quad", "a")
    assert where(full) == Wait("place")
    assert where(released(full, "beast", "a", now=NOW)) == Serve("beast")


def test_a_few_more_than_run_are_sent_where_they_may_queue() -> None:
    figures = ModelLoad(id="a", max_in_flight=32, max_queue_depth=256)
    one = replace(BOTH.hosts["beast"], live={"a": figures})
    assert one.places("a") == 36
    assert one.places("other") is None


def test_a_hot_model_gets_another_copy_only_where_memory_is_free_and_many_wait() -> None:
    hot = fleet(host("beast", 50, models=(loaded("a", 40),)), host("quad", 100))
    state = with_places(hot, "beast", 1, 1)
    rules = policy(A, replicate_after=3)
    assert decide(state, A, rules, now=NOW, waiting=2) == Wait("place")
    grown = decide(state, A, rules, now=NOW, waiting=3)
    assert isinstance(grown, Load)
    assert (grown.host, grown.evict) == ("quad", ())
    b = listed("b", 90)
    crowded = fleet(state.hosts["beast"], host("quad", 100, models=(loaded("b", 90),)))
    assert decide(crowded, A, policy(A, b, replicate_after=3), now=NOW, waiting=9) == Wait("place"), "nobody is evicted"
    assert decide(state, A, policy(A), now=NOW, waiting=9) == Wait("place"), "0 = never"


def test_a_prefix_is_worth_a_short_queue_and_no_long_one() -> None:
    def busy(count: int) -> Fleet:
        one = replace(BOTH.hosts["quad"], leases={"a": count})
        hosts = {**BOTH.hosts, "quad": one}
        return replace(BOTH, hosts=hosts, located=located_in(hosts))

    assert where(busy(0), near="quad") == Serve("quad")
    assert where(busy(4), near="quad") == Serve("quad")
    assert where(busy(5), near="quad") == Serve("beast")
    assert where(busy(0), near="gone") == Serve("beast")
    away = refused(busy(0), "quad", now=NOW)
    assert away.hosts["quad"].reach is Reach.DOWN
    assert where(away, near="quad") == Serve("beast")


def test_a_clock_that_is_set_back_holds_nothing_against_a_host_for_longer() -> None:
    earlier = NOW - 86_400
    state = flapped(BOTH, "beast", 5)
    for step in range(FAULTS_UNTIL_OPEN + 2):
        state = request_failed(state, "beast", "a", now=NOW + step)
    assert where(state, NOW + 5) == Serve("quad")
    assert where(state, earlier) == Serve("beast")
    again = up_again(refused(state, "beast", now=earlier), "beast")
    assert again.hosts["beast"].held_until == 0.0, "what happened later is no history"
