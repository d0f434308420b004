"""The decision tree step by step, on small fleets written down by hand."""

from cortex import errors
from cortex.fleet.placement import Plan
from cortex.fleet.scheduler import Load, Reject, Serve, Wait, decide
from cortex.fleet.state import MIB, Device, Failure, Job, Reach
from cortex.protocol import ModelEntry
from cortex.types import ModelState
from tests.unit.fleet.fleets import NOW, fleet, host, listed, loaded, policy

QWEN = listed("qwen", 40)


def ask(fleet_: object, model: object = QWEN, rules: object = None, **more: object) -> object:
    return decide(fleet_, model, rules or policy(model), now=NOW, **more)  # type: ignore[arg-type]


def entry(name: str, state: ModelState, **more: object) -> ModelEntry:
    return ModelEntry(id=name, status=state, devices=(0,), **more)


def test_1_the_least_busy_of_the_hosts_that_have_it_serves() -> None:
    here = host("beast", 100, models=(loaded("qwen", 40),), leases={"qwen": 2})
    there = host("quadbrat", 100, models=(loaded("qwen", 40),), reported={"qwen": 1})
    assert ask(fleet(here, there)) == Serve("quadbrat")
    assert ask(fleet(here, there), exclude=frozenset({"quadbrat"})) == Serve("beast")


def test_1_a_tie_is_broken_by_name() -> None:
    both = [host(name, 100, models=(loaded("qwen", 40),)) for name in ("quadbrat", "beast")]
    assert ask(fleet(*both)) == Serve("beast")


def test_1_a_draining_or_dead_host_serves_nobody() -> None:
    draining = host("beast", 100, models=(loaded("qwen", 40),), status="draining")
    dead = host("quadbrat", 100, models=(loaded("qwen", 40),), reach=Reach.DOWN)
    decision = ask(fleet(draining, dead))
    assert isinstance(decision, Reject)
    assert decision.status == 503
    assert "beast is draining" in decision.message
    assert "quadbrat is down" in decision.message


def test_2_a_load_under_way_is_waited_for() -> None:
    job = Job(model="qwen", host="beast", since=NOW)
    assert ask(fleet(host("beast", 100), jobs={"qwen": job})) == Wait("loading", "beast")
    other_gateways = host("beast", 100, models=(entry("qwen", ModelState.FETCHING),))
    assert ask(fleet(other_gateways)) == Wait("loading", "beast")


def test_2_a_model_that_is_leaving_is_waited_out() -> None:
    assert ask(fleet(host("beast", 100, models=(entry("qwen", ModelState.UNLOADING),)))) == Wait("room", "beast")


def test_3_a_host_never_met_is_waited_for() -> None:
    assert ask(fleet(host("beast", 100, reach=Reach.UNKNOWN))) == Wait("contact")


def test_4_a_model_that_only_a_host_knew_is_not_placed() -> None:
    unlisted = listed("own")
    unlisted = type(unlisted)(profile=unlisted.profile, listed=False)
    gone = ask(fleet(host("beast", 100)), unlisted)
    assert isinstance(gone, Reject)
    assert gone.status == 503
    broken = entry("own", ModelState.FAILED, error="own.gguf is cut short", error_code="model_file_invalid")
    failed = ask(fleet(host("beast", 100, models=(broken,))), unlisted)
    assert failed == Reject(kind=errors.ModelFileInvalid, message="own.gguf is cut short")


def test_5_a_model_that_fits_nowhere_is_refused_with_numbers() -> None:
    decision = ask(fleet(host("beast", 30), host("quadbrat", 20)))
    assert isinstance(decision, Reject)
    assert decision.status == 422
    assert decision.extras == {"needed_bytes": 40 * MIB, "total_bytes": 30 * MIB}


def test_5_a_model_for_two_devices_fits_two_halves() -> None:
    wide = listed("qwen", 40, min_devices=2)
    decision = ask(fleet(host("beast", 25, 25, 25)), wide)
    assert isinstance(decision, Load)
    assert decision.plan.share_bytes == 20 * MIB
    assert len(decision.plan.devices) == 2


def test_5_a_pin_on_a_host_that_does_not_exist_says_so() -> None:
    decision = ask(fleet(host("beast", 100)), listed("qwen", 40, pinned_on=("nowhere",)))
    assert isinstance(decision, Reject)
    assert decision.status == 422
    assert "nowhere" in decision.message


def test_6_a_dead_fleet_is_an_error_that_may_pass() -> None:
    decision = ask(fleet(host("beast", 100, reach=Reach.DOWN)))
    assert isinstance(decision, Reject)
    assert decision.kind is errors.ServiceUnavailable
    assert decision.retry_after == 5.0


def test_7_a_failed_load_rests_and_its_reason_is_told() -> None:
    failure = Failure(code="model_file_invalid", message="x.gguf is cut short", count=1, until=NOW + 4)
    decision = ask(fleet(host("beast", 100), failures={("beast", "qwen"): failure}))
    assert isinstance(decision, Reject)
    assert decision.kind is errors.ModelFileInvalid
    assert "x.gguf is cut short" in decision.message
    assert isinstance(decide(fleet(host("beast", 100)), QWEN, policy(QWEN), now=NOW), Load)


def test_7_another_host_is_tried_first() -> None:
    failure = Failure(code="insufficient_memory", message="no", count=1, until=NOW + 4)
    decision = ask(fleet(host("beast", 100), host("quadbrat", 50), failures={("beast", "qwen"): failure}))
    assert isinstance(decision, Load)
    assert decision.host == "quadbrat"


def test_8_free_memory_comes_before_eviction_and_more_room_before_less() -> None:
    full = host("beast", 100, models=(loaded("old", 90),))
    decision = ask(fleet(full, host("quadbrat", 50), host("small", 60)))
    assert decision == Load(Plan(host="small", devices=(0,), share_bytes=40 * MIB, slack_bytes=20 * MIB))


def test_8_the_least_recently_used_goes() -> None:
    models = (loaded("newer", 45, used=9), loaded("older", 45, used=5))
    decision = ask(fleet(host("beast", 100, models=models)))
    assert isinstance(decision, Load)
    assert decision.evict == ("older",)


def test_8_use_through_this_gateway_counts_as_use() -> None:
    models = (loaded("newer", 45, used=9), loaded("older", 45, used=5))
    decision = ask(fleet(host("beast", 100, models=models, used={"older": NOW - 1})))
    assert isinstance(decision, Load)
    assert decision.evict == ("newer",)


def test_8_priority_evicts_the_lower_class_first_and_never_a_higher_one() -> None:
    low, high = listed("low", 45, residency_priority=10), listed("high", 45, residency_priority=200)
    models = (loaded("low", 45, used=9), loaded("high", 45, used=1))
    rules = policy(QWEN, low, high, strategy="priority")
    decision = ask(fleet(host("beast", 100, models=models)), rules=rules)
    assert isinstance(decision, Load)
    assert decision.evict == ("low",)
    only_high = ask(fleet(host("beast", 60, models=(loaded("high", 45),))), rules=rules)
    assert isinstance(only_high, Reject)
    assert only_high.kind is errors.InsufficientMemory


def test_8_a_measured_size_outranks_the_profile() -> None:
    decision = ask(fleet(host("beast", 100, models=(loaded("old", 45),)), sizes={"qwen": 70 * MIB}))
    assert isinstance(decision, Load)
    assert decision.evict == ("old",)


def test_8_an_unknown_size_goes_where_most_is_free_without_eviction() -> None:
    unknown = listed("qwen")
    decision = ask(fleet(host("beast", 100, models=(loaded("old", 90),)), host("quadbrat", 30)), unknown)
    assert isinstance(decision, Load)
    assert (decision.host, decision.evict) == ("quadbrat", ())


def test_9_a_busy_model_is_waited_for_not_evicted() -> None:
    assert ask(fleet(host("beast", 100, models=(loaded("old", 90),), leases={"old": 1}))) == Wait("room")
    assert ask(fleet(host("beast", 100, models=(loaded("old", 90, in_flight=1),)))) == Wait("room")


def test_9_a_young_model_may_stay_its_time() -> None:
    rules = policy(QWEN, min_residency_seconds=60)
    young = host("beast", 100, models=(loaded("young", 90, loaded_at=NOW - 59),))
    assert ask(fleet(young), rules=rules) == Wait("room")
    old = host("beast", 100, models=(loaded("young", 90, loaded_at=NOW - 61),))
    assert isinstance(ask(fleet(old), rules=rules), Load)


def test_9_a_load_that_takes_the_room_is_waited_for() -> None:
    job = Job(model="other", host="beast", since=NOW, devices=(0,), share_bytes=90 * MIB)
    assert ask(fleet(host("beast", 100), jobs={"other": job})) == Wait("room")


def test_10_pinned_models_stay_and_the_answer_says_how_much_is_needed() -> None:
    pinned = listed("pinned", 90, pinned_on=("beast",))
    decision = ask(fleet(host("beast", 100, models=(loaded("pinned", 90),))), rules=policy(QWEN, pinned))
    assert isinstance(decision, Reject)
    assert decision.kind is errors.InsufficientMemory
    assert decision.extras == {"needed_bytes": 40 * MIB}
    assert decision.error().retry_after == 10.0


def test_memory_the_host_promised_to_its_own_loads_is_not_free() -> None:
    promised = Device(index=0, total_bytes=100 * MIB, free_bytes=100 * MIB, reserved_bytes=70 * MIB)
    made = host("beast", 100)
    decision = ask(fleet(type(made)(name="beast", endpoint="http://b", reach=Reach.UP, devices=(promised,))))
    assert isinstance(decision, Reject)
    assert decision.kind is errors.InsufficientMemory


def test_an_empty_fleet_says_where_hosts_are_written_down() -> None:
    decision = ask(fleet())
    assert isinstance(decision, Reject)
    assert "[[neurons]]" in decision.message


def test_a_server_that_is_not_ours_is_served_from_and_never_loaded_on() -> None:
    server = host("cloud", kind="openai", models=(loaded("a", 0),))
    model = listed("a", 10)
    assert decide(fleet(server, host("beast", 100)), model, policy(model), now=NOW) == Serve("cloud")
    excluded = frozenset({"cloud"})
    assert isinstance(decide(fleet(server, host("beast", 100)), model, policy(model), now=NOW, exclude=excluded), Load)
    alone = decide(fleet(server), model, policy(model), now=NOW, exclude=excluded)
    assert isinstance(alone, Reject)
    assert (alone.status, "cloud failed the request" in alone.message) == (503, True)
    down = decide(
        fleet(host("cloud", kind="openai", models=(loaded("a", 0),), reach=Reach.DOWN)), model, policy(model), now=NOW
    )
    assert isinstance(down, Reject)
    assert (down.status, "cloud is down" in down.message) == (503, True)
    other = listed("b", 10)
    never = decide(fleet(server), other, policy(other), now=NOW)
    assert isinstance(never, Reject)
    assert never.status == 422
