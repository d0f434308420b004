"""AsyncEngine over a fake native engine: order, cancellation, slow readers, many requests, death, close, errors."""

import asyncio
import struct
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from cortex.engine import AsyncEngine, EngineSampling
from cortex.errors import ContextLengthExceeded, EngineFailed, InvalidField, QueueFull
from tests.fakes.native_engine import FakeEvent, FakeNativeEngine, FakePrompt

PROMPT: Any = FakePrompt((1, 2, 3))
ENDLESS = EngineSampling(max_tokens=1_000_000)
DEADLINE = 10.0


@asynccontextmanager
async def engine_over(native: Any) -> AsyncIterator[AsyncEngine]:
    engine = AsyncEngine(native)
    try:
        async with asyncio.timeout(DEADLINE):
            yield engine
    finally:
        await engine.close()
        native.free_descriptor()


async def read(engine: AsyncEngine, sampling: EngineSampling) -> list[Any]:
    return [event async for event in engine.generate(PROMPT, sampling)]


async def submitted(engine: AsyncEngine, requests: int) -> None:
    """After the tasks made before this have run to their first wait."""
    await asyncio.sleep(0)
    assert engine.stats().running == requests


def text_of(events: list[FakeEvent]) -> str:
    return "".join(event.text for event in events)


def counted(tokens: int) -> str:
    return "".join(f"{number} " for number in range(tokens))


def test_events_come_in_order_and_the_last_has_the_ending() -> None:
    async def run() -> None:
        async with engine_over(FakeNativeEngine()) as engine:
            events = await read(engine, EngineSampling(max_tokens=20))
            assert text_of(events) == counted(20)
            assert [event.ending for event in events[:-1]] == [None] * 19
            ending = events[-1].ending
            assert (ending.reason, ending.prompt_tokens, ending.completion_tokens) == ("length", 3, 20)

    asyncio.run(run())


def test_leaving_the_loop_early_cancels_the_request() -> None:
    async def run() -> None:
        async with engine_over(FakeNativeEngine(steps=2)) as engine:
            async with aclosing(engine.generate(PROMPT, ENDLESS)) as events:
                async for event in events:
                    assert event.text == "0 "
                    break
            stats = engine.stats()
            assert (stats.running, stats.cancelled, stats.steps) == (0, 1, 2)

    asyncio.run(run())


def test_cancelling_the_reading_task_cancels_the_request_and_no_other() -> None:
    async def run() -> None:
        native = FakeNativeEngine(steps=0)
        async with engine_over(native) as engine, asyncio.TaskGroup() as tasks:
            left = tasks.create_task(read(engine, ENDLESS))
            stays = tasks.create_task(read(engine, EngineSampling(max_tokens=3)))
            await submitted(engine, 2)
            left.cancel()
            await asyncio.wait([left])
            assert left.cancelled()
            assert (engine.stats().running, engine.stats().cancelled) == (1, 1)
            native.allow(3)
            assert text_of(await stays) == counted(3)

    asyncio.run(run())


def test_a_slow_reader_gets_everything_and_in_few_batches() -> None:
    async def run() -> None:
        native = FakeNativeEngine(steps=1)
        async with engine_over(native) as engine:
            events = engine.generate(PROMPT, EngineSampling(max_tokens=500))
            first = await anext(events)
            before = native.drains
            native.allow(499)
            assert native.wait_until_idle(DEADLINE)  # blocks the loop: this is the slow reader
            rest = [event async for event in events]
            assert first.text + text_of(rest) == counted(500)
            assert native.drains - before <= 2

    asyncio.run(run())


def test_many_requests_at_once_get_their_own_events() -> None:
    async def run() -> None:
        async with engine_over(FakeNativeEngine()) as engine:
            lengths = range(1, 101)
            answers = await asyncio.gather(*(read(engine, EngineSampling(max_tokens=length)) for length in lengths))
            assert [text_of(events) for events in answers] == [counted(length) for length in lengths]
            assert engine.stats().finished == 100

    asyncio.run(run())


def test_the_death_of_the_engine_ends_every_request_and_refuses_new_ones() -> None:
    async def run() -> None:
        native = FakeNativeEngine(steps=0)
        async with engine_over(native) as engine:
            readers = [asyncio.ensure_future(read(engine, ENDLESS)) for _ in range(5)]
            await submitted(engine, 5)
            native.die("out of registers")
            for events in await asyncio.gather(*readers):
                assert (events[-1].ending.reason, events[-1].ending.error) == ("error", "out of registers")
            with pytest.raises(EngineFailed, match="out of registers"):
                await read(engine, ENDLESS)
            assert engine.stats().failed == "out of registers"

    asyncio.run(run())


def test_close_ends_what_runs_and_joins_the_thread() -> None:
    async def run() -> None:
        native = FakeNativeEngine(steps=0)
        async with engine_over(native) as engine:
            reader = asyncio.ensure_future(read(engine, ENDLESS))
            await submitted(engine, 1)
            await asyncio.gather(engine.close(), engine.close())
            assert (await reader)[-1].ending.reason == "cancelled"
            assert not native.thread.is_alive()
            with pytest.raises(EngineFailed, match="unloaded"):
                await read(engine, ENDLESS)

    asyncio.run(run())


class Mute(FakeNativeEngine):
    """Never says how anything ended."""

    def _say(self, event: FakeEvent) -> None:
        pass


def test_close_fails_a_request_whose_ending_never_comes() -> None:
    async def run() -> None:
        async with engine_over(Mute(steps=0)) as engine:
            reader = asyncio.ensure_future(read(engine, ENDLESS))
            await submitted(engine, 1)
            await engine.close()
            with pytest.raises(EngineFailed, match="unloaded"):
                await reader

    asyncio.run(run())


@pytest.mark.parametrize(
    ("sampling", "failure"), [(EngineSampling(max_tokens=0), InvalidField), (EngineSampling(max_tokens=5), QueueFull)]
)
def test_a_refused_request_leaves_nothing_behind(sampling: EngineSampling, failure: type[Exception]) -> None:
    async def run() -> None:
        async with engine_over(FakeNativeEngine(max_running=0)) as engine:
            with pytest.raises(failure):
                await read(engine, sampling)
            assert (engine.stats().running, engine.stats().cancelled) == (0, 0)

    asyncio.run(run())


@pytest.mark.parametrize("size", [3, 10_000], ids=["at once", "in a thread"])
def test_texts_and_chats_become_prompts_and_text_again(size: int) -> None:
    async def run() -> None:
        async with engine_over(FakeNativeEngine()) as engine:
            text = "x" * size
            prompt = await engine.encode_text(text, add_special=False)
            assert await engine.decode(prompt.tokens()) == text
            chat = await engine.encode_chat(text.encode(), tools=b"t", kwargs=b"k", add_generation_prompt=False)
            assert await engine.decode(chat.tokens()) == text + "tk"
            with pytest.raises(ContextLengthExceeded):
                await engine.encode_text(text, most_tokens=2)
            with pytest.raises(ContextLengthExceeded):
                await engine.encode_chat(text.encode(), most_tokens=2)

    asyncio.run(run())


def test_an_engine_that_does_not_come_back_is_given_up() -> None:
    class Stuck(FakeNativeEngine):
        comes_back = threading.Event()

        def close(self) -> None:
            self.comes_back.wait()
            super().close()

    async def run() -> None:
        native = Stuck(steps=0)
        async with engine_over(native) as engine:
            reading = asyncio.create_task(read(engine, EngineSampling(max_tokens=3)))
            await submitted(engine, 1)
            engine.abandon("no step for a day")
            with pytest.raises(EngineFailed, match="no step for a day"):
                await reading
            with pytest.raises(EngineFailed):
                await read(engine, EngineSampling(max_tokens=3))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await engine.close()
            native.comes_back.set()
            await engine.close()

    asyncio.run(run())


def test_texts_become_vectors_of_the_dimensions_asked_for() -> None:
    async def run() -> None:
        async with engine_over(FakeNativeEngine()) as engine:
            made = await engine.embed([PROMPT, FakePrompt((4,))])  # type: ignore[list-item]
            assert [list(struct.unpack("<2f", vector)) for vector in made.vectors] == [[3, 3], [1, 1]]
            assert made.prompt_tokens == 4
            short = await engine.embed([PROMPT], dimensions=1)
            assert [bytes(vector) for vector in short.vectors] == [struct.pack("<f", 3)]

    asyncio.run(run())


def test_cancelling_an_embedding_cancels_the_request_and_a_death_ends_it() -> None:
    async def run() -> None:
        native = FakeNativeEngine(steps=0)
        async with engine_over(native) as engine:
            left, stays = asyncio.ensure_future(engine.embed([PROMPT])), asyncio.ensure_future(engine.embed([PROMPT]))
            await submitted(engine, 2)
            left.cancel()
            await asyncio.wait([left])
            assert (engine.stats().running, engine.stats().cancelled) == (1, 1)
            native.die("out of registers")
            with pytest.raises(EngineFailed, match="out of registers"):
                await stays

    asyncio.run(run())


def test_closing_ends_an_embedding_and_takes_no_more() -> None:
    async def run() -> None:
        async with engine_over(FakeNativeEngine(steps=0)) as engine:
            asked = asyncio.ensure_future(engine.embed([PROMPT]))
            await submitted(engine, 1)
            await engine.close()
            for failing in (asked, engine.embed([PROMPT])):
                with pytest.raises(EngineFailed, match="unloaded"):
                    await failing

    asyncio.run(run())
