"""Why a model runs here and not there, in the numbers that decide."""

import pytest

from cortex.fleet.catalogue import Model
from cortex.fleet.explain import Fit, Verdict, explain
from cortex.fleet.scheduler import Load, Reject, Wait, decide
from cortex.fleet.state import MIB, Duty, Reach
from tests.unit.fleet.fleets import NOW, fleet, host, listed, loaded, policy


def only(model: Model, *hosts: object, rules: object = None) -> list[Fit]:
    return explain(fleet(*hosts), model, rules or policy(model), now=NOW)


@pytest.mark.parametrize(
    ("model", "on", "verdict"),
    [
        (listed("a", 40), host("beast", 100, models=(loaded("a", 40),)), Verdict.LOADED),
        (listed("a", 40), host("beast", 100), Verdict.FITS),
        (listed("a"), host("beast", 100), Verdict.FITS),
        (listed("a", 120), host("beast", 100), Verdict.NEVER),
        (listed("a", 180, min_devices=2), host("beast", 100, 100), Verdict.FITS),
        (listed("a", 220, min_devices=2), host("beast", 100, 100), Verdict.NEVER),
        (listed("a", 40, min_devices=2), host("beast", 100), Verdict.FEW_DEVICES),
        (listed("a", 40, min_device_vram_mb=120), host("beast", 100), Verdict.SMALL_DEVICES),
        (listed("a", 40, pinned_on=("quad",)), host("beast", 100), Verdict.PINNED_ELSEWHERE),
        (listed("a", 40), host("beast", 100, reach=Reach.DOWN), Verdict.AWAY),
        (listed("a", 40), host("beast", 100, status="draining"), Verdict.AWAY),
        (listed("a", 40), host("beast", 100, duty=Duty.DRAINED, models=(loaded("a", 40),)), Verdict.AWAY),
        (listed("a", 40), host("beast", 100, duty=Duty.CORDONED), Verdict.AWAY),
        (listed("a", 40), host("beast", 100, duty=Duty.CORDONED, models=(loaded("a", 40),)), Verdict.LOADED),
        (listed("a", 40), host("cloud", kind="openai", models=(loaded("a", 0),)), Verdict.LOADED),
        (listed("a", 40), host("cloud", kind="openai"), Verdict.NO_LOADS),
        (listed("a", 80), host("beast", 100, models=(loaded("b", 40),)), Verdict.AFTER_EVICTION),
        (listed("a", 80), host("beast", 100, models=(loaded("b", 40),), leases={"b": 1}), Verdict.ONCE_IDLE),
    ],
)
def test_each_case_has_its_word(model: Model, on: object, verdict: Verdict) -> None:
    (fit,) = only(model, on)
    assert fit.verdict is verdict


def test_pinned_models_leave_it_full() -> None:
    b = listed("b", 40, pinned_on=("beast",))
    a = listed("a", 80)
    (fit,) = only(a, host("beast", 100, models=(loaded("b", 40),)), rules=policy(a, b))
    assert (fit.verdict, fit.free, fit.needed) == (Verdict.FULL, 60 * MIB, 80 * MIB)


def test_the_numbers_are_those_of_the_device_that_decides() -> None:
    (fit,) = only(listed("a", 100, min_devices=2), host("beast", 100, 60, 80))
    assert (fit.needed, fit.devices, fit.total) == (50 * MIB, 2, 80 * MIB)


def test_the_words_and_the_scheduler_agree() -> None:
    a, b = listed("a", 80), listed("b", 40)
    rules = policy(a, b)
    free, evicting = host("beast", 100), host("beast", 100, models=(loaded("b", 40),))
    busy = host("beast", 100, models=(loaded("b", 40),), leases={"b": 1})
    for on, kind in ((free, Load), (evicting, Load), (busy, Wait), (host("beast", 70), Reject)):
        assert isinstance(decide(fleet(on), a, rules, now=NOW), kind)
        (fit,) = only(a, on, rules=rules)
        assert fit.verdict.possible is (kind is not Reject)
