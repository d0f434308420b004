"""Limits of keys: a minute's worth refills steadily, what was used is known only afterwards, and nobody pays twice."""

import pytest

from cortex.config import KeyLimits
from cortex.errors import RateLimited
from cortex.gateway.access import Caller
from cortex.gateway.quotas import Quotas


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def caller(share: str = "key 1", **limits: int) -> Caller:
    return Caller(share=share, limits=KeyLimits(**limits))


def test_requests_a_minute_come_back_one_by_one() -> None:
    clock = Clock()
    quotas = Quotas(clock)
    who = caller(requests_per_minute=6)
    for _ in range(6):
        quotas.enter(who)
        quotas.leave(who, 0)
    with pytest.raises(RateLimited) as caught:
        quotas.enter(who)
    assert caught.value.retry_after == pytest.approx(10.0)
    clock.now += 10.0
    quotas.enter(who)
    with pytest.raises(RateLimited):
        quotas.enter(who)


def test_a_refusal_costs_nothing() -> None:
    clock = Clock()
    quotas = Quotas(clock)
    who = caller(requests_per_minute=1, concurrent=1)
    quotas.enter(who)
    for _ in range(5):
        with pytest.raises(RateLimited):
            quotas.enter(who)
    quotas.leave(who, 0)
    clock.now += 60.0
    quotas.enter(who)


def test_tokens_are_paid_afterwards_and_a_debt_is_waited_off() -> None:
    clock = Clock()
    quotas = Quotas(clock)
    who = caller(tokens_per_minute=60)
    quotas.enter(who)
    quotas.leave(who, 179)
    with pytest.raises(RateLimited) as caught:
        quotas.enter(who)
    assert caught.value.retry_after == pytest.approx(120.0)
    assert caught.value.extras == {"limit": 60}
    clock.now += 120.0
    quotas.enter(who)


def test_at_once_is_given_back_and_keys_do_not_share() -> None:
    quotas = Quotas(Clock())
    ann, ben = caller("key 1", concurrent=2), caller("key 2", concurrent=1)
    quotas.enter(ann)
    quotas.enter(ann)
    quotas.enter(ben)
    for who in (ann, ben):
        with pytest.raises(RateLimited, match="at once"):
            quotas.enter(who)
    quotas.leave(ann, 0)
    quotas.enter(ann)


def test_callers_that_say_nothing_any_more_are_forgotten() -> None:
    clock = Clock()
    quotas = Quotas(clock)
    busy = caller("busy", concurrent=1)
    quotas.enter(busy)
    for number in range(25_000):
        clock.now += 1.0
        who = caller(f"address {number}", requests_per_minute=60)
        quotas.enter(who)
        quotas.leave(who, 0)
    assert len(quotas._accounts) <= 10_001
    with pytest.raises(RateLimited):
        quotas.enter(busy)
