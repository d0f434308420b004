"""LiveAnswer by itself: opening, silence, backpressure, endings."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cortex.errors import CortexError, QueueFull
from cortex.gateway.live import LiveAnswer, Outlet
from tests.gateway.rig import soon

pytestmark = pytest.mark.anyio


class Watched:
    """A live answer with a record of how it ended."""

    def __init__(self, produce: Callable[[Outlet], Awaitable[None]], *, every: float = 60.0) -> None:
        self.ends: list[BaseException | None] = []
        self.answer = LiveAnswer(
            produce,
            keep_alive=b"<alive>",
            every_seconds=every,
            error_event=lambda error: f"<{error.code}>".encode(),
            on_end=self.ends.append,
        )

    async def rest(self) -> list[bytes]:
        return [chunk async for chunk in self.answer]


async def test_headers_are_known_when_it_opens_and_the_end_is_told_once() -> None:
    async def produce(outlet: Outlet) -> None:
        outlet.headers["x"] = "1"
        await outlet.put(b"a")

    watched = Watched(produce)
    assert await soon(watched.answer.ready(60.0)) == {"x": "1"}
    assert await soon(watched.rest()) == [b"a"]
    await watched.answer.aclose()
    assert watched.ends == [None]
    with pytest.raises(StopAsyncIteration):
        await anext(watched.answer)


async def test_a_failure_before_the_first_byte_is_raised() -> None:
    async def produce(outlet: Outlet) -> None:
        raise QueueFull("full")

    watched = Watched(produce)
    with pytest.raises(QueueFull) as caught:
        await soon(watched.answer.ready(60.0))
    assert watched.ends == [caught.value]


async def test_a_failure_after_it_is_the_error_event() -> None:
    async def produce(outlet: Outlet) -> None:
        await outlet.put(b"a")
        raise QueueFull("full")

    watched = Watched(produce)
    await soon(watched.answer.ready(60.0))
    assert await soon(watched.rest()) == [b"a", b"<rate_limit_exceeded>"]
    assert isinstance(watched.ends[0], QueueFull)


async def test_a_bug_is_an_internal_error_without_its_words() -> None:
    async def produce(outlet: Outlet) -> None:
        await outlet.put(b"a")
        raise ZeroDivisionError("secret")

    watched = Watched(produce)
    await soon(watched.answer.ready(60.0))
    assert await soon(watched.rest()) == [b"a", b"<internal_error>"]
    assert type(watched.ends[0]) is CortexError


async def test_silence_is_filled_from_the_moment_it_must_begin() -> None:
    go = asyncio.Event()

    async def produce(outlet: Outlet) -> None:
        await go.wait()
        await outlet.put(b"a")

    watched = Watched(produce, every=0.01)
    assert await soon(watched.answer.ready(0.01)) == {}
    assert [await soon(anext(watched.answer)) for _ in range(3)] == [b"<alive>"] * 3
    go.set()
    chunks = await soon(watched.rest())
    assert chunks[-1] == b"a"
    assert set(chunks[:-1]) <= {b"<alive>"}


async def test_a_reader_that_is_behind_holds_the_producer_up() -> None:
    made = 0

    async def produce(outlet: Outlet) -> None:
        nonlocal made
        for _ in range(100):
            await outlet.put(b"x" * 64 * 1024)
            made += 1

    watched = Watched(produce)
    await soon(watched.answer.ready(60.0))
    for _ in range(10):
        await asyncio.sleep(0)
    assert made <= 5
    assert sum(map(len, await soon(watched.rest()))) == 100 * 64 * 1024


@pytest.mark.parametrize("opened", [False, True])
async def test_closing_cancels_the_producer_and_waits_for_it(opened: bool) -> None:
    let_go = False

    async def produce(outlet: Outlet) -> None:
        nonlocal let_go
        if opened:
            await outlet.put(b"a")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            let_go = True

    watched = Watched(produce)
    await soon(watched.answer.ready(0.01))
    await soon(watched.answer.aclose())
    assert let_go
    assert isinstance(watched.ends[0], asyncio.CancelledError)
    await watched.answer.aclose()
    assert len(watched.ends) == 1


async def test_a_caller_that_is_cancelled_while_it_opens_closes_it() -> None:
    cancelled = asyncio.Event()

    async def produce(outlet: Outlet) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    watched = Watched(produce)
    opening = asyncio.ensure_future(watched.answer.ready(60.0))
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait([opening])
    await soon(cancelled.wait())
    assert opening.cancelled()


async def test_an_exception_thrown_in_closes_it() -> None:
    async def produce(outlet: Outlet) -> None:
        await asyncio.Event().wait()

    watched = Watched(produce)
    with pytest.raises(KeyError):
        await watched.answer.athrow(KeyError("x"))
    assert isinstance(watched.ends[0], asyncio.CancelledError)
