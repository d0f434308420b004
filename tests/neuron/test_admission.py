"""Admission: never more than the places, first come first served, nothing lost whoever leaves when."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortex.config import AdmissionConfig
from cortex.errors import QueueFull
from cortex.neuron.admission import Admission, Place

pytestmark = pytest.mark.anyio


def admission(places: int, queue: int) -> Admission:
    return Admission(AdmissionConfig(max_in_flight=places, max_queue_depth=queue, max_wait_secs=60))


def granted(place: Place) -> bool:
    return place.granted.done() and not place.granted.cancelled()


@given(
    st.integers(1, 3),
    st.integers(0, 3),
    st.lists(st.one_of(st.tuples(st.just("ask"), st.integers(1, 3)), st.tuples(st.just("leave"), st.integers(0, 9)))),
)
def test_any_order_of_coming_and_leaving(places: int, queue: int, steps: list[tuple[str, int]]) -> None:
    async def play() -> None:
        door = admission(places, queue)
        present: list[Place] = []  # in order of their coming
        for what, number in steps:
            if what == "leave" and present:
                present.pop(number % len(present)).leave()
            elif what == "ask":
                room = places + queue - len(present)
                if number <= room:
                    present += door.ask(number)
                else:
                    with pytest.raises(QueueFull) as full:
                        door.ask(number)
                    assert 1 <= (full.value.retry_after or 0) <= 120
            assert [granted(place) for place in present] == [at < places for at in range(len(present))]
            assert (door.running, door.waiting) == (min(places, len(present)), max(0, len(present) - places))

    asyncio.run(play())


async def test_all_places_of_a_request_or_none() -> None:
    door = admission(2, 1)
    first = door.ask(2)
    with pytest.raises(QueueFull) as full:
        door.ask(2)
    assert full.value.extras == {"waiting": 0, "limit": 1}
    waiting = door.ask(1)[0]
    assert not granted(waiting)
    first[0].leave()
    assert granted(waiting)


async def test_a_waiter_that_is_cancelled_makes_room() -> None:
    door = admission(1, 2)
    first = door.ask()[0]
    second, third = door.ask()[0], door.ask()[0]
    waiting = asyncio.ensure_future(second.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    first.leave()
    first.leave()
    assert granted(third)
    assert (door.running, door.waiting) == (1, 0)
