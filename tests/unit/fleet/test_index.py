"""The index changes no decision, and what it follows step by step is what it would be if it were made anew."""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cortex.errors import LoadError
from cortex.fleet.catalogue import Model
from cortex.fleet.eviction import Policy
from cortex.fleet.index import Index
from cortex.fleet.membership import duty_given, hosts_listed, pinned, unpinned
from cortex.fleet.placement import plan_rank
from cortex.fleet.scheduler import Load, Reject, Wait, decide
from cortex.fleet.state import MIB, Device, Duty, Fleet, Host, Job, Reach
from cortex.fleet.transitions import job_ended, job_started, leased, load_failed, missed, models_seen, refused, released
from tests.unit.fleet.fleets import NAMES, NOW, entries, fleet, fleets, host, hosts, listed, loaded, policies, policy

Change = Callable[[Fleet], Fleet]
NAME = st.sampled_from(NAMES)
MANY = tuple(f"h{number}" for number in range(8))


@st.composite
def larger(draw: st.DrawFn) -> Fleet:
    """Up to eight hosts, a few of them flapping, some loads under way and some failed lately."""
    made = [draw(hosts(name)) for name in MANY[: draw(st.integers(1, len(MANY)))]]
    held = draw(st.sets(st.sampled_from(MANY), max_size=2))
    return fleet(*(replace(one, held_until=NOW + 5) if one.name in held else one for one in made))


def on(at: int, change: Callable[[Fleet, str], Fleet]) -> Change:
    """The change of one of the hosts that there are."""

    def changed(fleet: Fleet) -> Fleet:
        names = sorted(fleet.hosts)
        return change(fleet, names[at % len(names)]) if names else fleet

    return changed


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """One thing that happens to a fleet."""
    kind, at, model = draw(st.sampled_from(KINDS)), draw(st.integers(0, len(MANY) - 1)), draw(NAME)
    if kind == "news":
        told = tuple(draw(entries(one, 1)) for one in draw(st.sets(NAME, max_size=4)))
        return on(at, lambda fleet, name: models_seen(fleet, name, told))
    if kind == "job":
        size = draw(st.integers(0, 50)) * MIB
        job = Job(model=model, host="", since=NOW, devices=(0,), share_bytes=size)
        return on(at, lambda fleet, name: with_job(fleet, replace(job, host=name)))
    if kind == "another":
        another = draw(hosts(MANY[at]))
        return lambda fleet: hosts_listed(fleet, [*fleet.hosts.values(), another])
    if kind == "duty":
        duty = draw(st.sampled_from(list(Duty)))
        return on(at, lambda fleet, name: duty_given(fleet, name, duty))
    return SIMPLE[kind](at, model)


SIMPLE: dict[str, Callable[[int, str], Change]] = {
    "lease": lambda at, model: on(at, lambda fleet, name: leased(fleet, name, model)),
    "end": lambda at, model: on(at, lambda fleet, name: given_back(fleet, name, model)),
    "refused": lambda at, _: on(at, lambda fleet, name: refused(fleet, name, now=NOW)),
    "missed": lambda at, _: on(at, lambda fleet, name: missed(fleet, name, now=NOW)),
    "pin": lambda at, model: on(at, lambda fleet, name: pinned(fleet, model, name)),
    "unpin": lambda at, model: on(at, lambda fleet, name: unpinned(fleet, model, name)),
    "loaded": lambda _, model: lambda fleet: job_ended(fleet, model) if model in fleet.jobs else fleet,
    "failed": lambda _, model: lambda fleet: failed(fleet, model),
    "gone": lambda at, _: on(at, lambda fleet, name: without(fleet, name)),
}
KINDS = ("news", "job", "job", "another", "duty", *SIMPLE, "pin")


def without(fleet: Fleet, left: str) -> Fleet:
    return hosts_listed(fleet, [one for name, one in fleet.hosts.items() if name != left])


def given_back(fleet: Fleet, name: str, model: str) -> Fleet:
    return released(fleet, name, model, now=NOW) if fleet.hosts[name].leases.get(model) else fleet


def with_job(fleet: Fleet, job: Job) -> Fleet:
    victims = tuple(sorted(fleet.hosts[job.host].models))[:1]
    return fleet if job.model in fleet.jobs else job_started(fleet, replace(job, evict=victims))


def failed(fleet: Fleet, model: str) -> Fleet:
    if model not in fleet.jobs:
        return fleet
    return load_failed(fleet, model, LoadError("it broke"), now=NOW)


def same(fleet: Fleet, rules: Policy, index: Index, exclude: frozenset[str] = frozenset()) -> None:
    for name in NAMES:
        model = Model(profile=rules.catalogue.profiles[name], listed=True)
        for waiting in (0, 3):
            whole = decide(fleet, model, rules, now=NOW, exclude=exclude, waiting=waiting)
            quick = decide(fleet, model, rules, now=NOW, exclude=exclude, waiting=waiting, index=index)
            if isinstance(whole, Load) and isinstance(quick, Load):
                assert plan_rank(quick.plan) == plan_rank(whole.plan)
            assert quick == whole


@settings(max_examples=60, deadline=None)
@given(larger(), policies(), st.lists(changes(), min_size=2, max_size=6), st.sets(st.sampled_from(MANY), max_size=2))
def test_every_decision_is_the_one_made_without(
    fleet: Fleet, rules: Policy, story: list[Change], exclude: set[str]
) -> None:
    rules = replace(rules, replicate_after=2)
    index = Index(fleet, rules)
    same(fleet, rules, index, frozenset(exclude))
    for change in story:
        fleet = change(fleet)
        index.follow(fleet)
        same(fleet, rules, index)


@settings(max_examples=60, deadline=None)
@given(fleets() | larger(), policies(), st.lists(changes(), min_size=6, max_size=20))
def test_following_leads_where_beginning_anew_does(fleet: Fleet, rules: Policy, story: list[Change]) -> None:
    index = Index(fleet, rules)
    for change in story:
        fleet = change(fleet)
        index.follow(fleet)
    assert told(index) == told(Index(fleet, rules))


def told(index: Index) -> list[object]:
    idle = [
        sorted((last_use, index.hosts_at[place], *more) for last_use, place, *more in index.idle(name).rows())
        for name in NAMES
    ]
    for name in NAMES:
        uses = [row[0] for row in index.idle(name).rows()]
        assert uses == sorted(uses)
    rooms = sorted((host, index.with_room(host, share * MIB)) for host in index.fleet.hosts for share in (0, 20, 60))
    orders = [ranking.order(devices) for ranking in (index.rooms, index.could, index.totals) for devices in (1, 2, 3)]
    return [idle, rooms, orders, index.unmet, index.held, index.claimed, index.promised]


def test_the_oldest_victims_of_many_hosts_are_found() -> None:
    crowded = [host(f"h{at}", 100, models=(loaded("big", 60, used=at), loaded("b", 40, used=at))) for at in range(9)]
    crowded[4] = host("h4", 100, models=(loaded("big", 60, used=-3), loaded("b", 40, used=-2)))
    made, new = fleet(*crowded), listed("new", 90)
    rules = policy(new)
    decision = decide(made, new, rules, now=NOW, index=Index(made, rules))
    assert isinstance(decision, Load)
    assert (decision.host, decision.evict) == ("h4", ("big", "b"))


def test_busy_everywhere_is_waited_for_and_never_is_refused() -> None:
    busy = [host(f"h{at}", 100, models=(loaded("a", 80),), leases={"a": 1}) for at in range(3)]
    made: Fleet = fleet(*busy)
    for size, kind in ((90, Wait), (101, Reject)):
        new = listed("new", size)
        rules = policy(new)
        assert isinstance(decide(made, new, rules, now=NOW, index=Index(made, rules)), kind)


def test_a_tie_of_room_is_broken_by_name_whatever_other_devices_have() -> None:
    roomy = Host(
        name="z",
        endpoint="http://z",
        reach=Reach.UP,
        devices=(
            Device(index=0, total_bytes=70 * MIB, free_bytes=70 * MIB),
            Device(index=1, total_bytes=100 * MIB, free_bytes=50 * MIB),
        ),
    )
    made = fleet(roomy, host("a", 100, models=(loaded("b", 50),)))
    new = listed("new", 10, min_device_vram_mb=80)
    rules = policy(new)
    for index in (None, Index(made, rules)):
        decision = decide(made, new, rules, now=NOW, index=index)
        assert isinstance(decision, Load)
        assert decision.host == "a"


def test_room_on_a_device_that_is_too_small_hides_nothing() -> None:
    old = loaded("old", 90, devices=(1,))
    made, new = fleet(host("one", 70, 100, models=(old,))), listed("new", 50, min_device_vram_mb=80)
    rules = policy(new)
    decision = decide(made, new, rules, now=NOW, index=Index(made, rules))
    assert isinstance(decision, Load)
    assert (decision.evict, decision.plan.devices) == (("old",), (1,))


def test_hosts_whose_victims_are_equally_old_are_all_looked_at() -> None:
    made = fleet(host("z", 100, models=(loaded("a", 90),)), host("y", 120, models=(loaded("b", 90),)))
    new = listed("new", 95)
    rules = policy(new)
    decision = decide(made, new, rules, now=NOW, index=Index(made, rules))
    assert isinstance(decision, Load)
    assert decision.host == "y"


def test_a_pin_that_is_taken_back_is_followed() -> None:
    held = pinned(fleet(host("one", 100, models=(loaded("old", 90),))), "old", "one")
    new = listed("new", 50)
    rules = policy(new)
    index = Index(held, rules)
    assert isinstance(decide(held, new, rules, now=NOW, index=index), Reject)
    free = unpinned(held, "old", "one")
    index.follow(free)
    assert isinstance(decide(free, new, rules, now=NOW, index=index), Load)


def test_a_host_that_left_is_not_remembered() -> None:
    one, other = host("one", 100), host("other", 50)
    rules = policy(listed("new", 60))
    index = Index(fleet(one, other), rules)
    left = hosts_listed(index.fleet, [Host(name="other", endpoint=other.endpoint)])
    index.follow(left)
    assert isinstance(decide(left, listed("new", 60), rules, now=NOW, index=index), Reject)
