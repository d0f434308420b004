"""Answers on their own: endings that nothing may swallow, and one close that lets go of everything."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing
from functools import partial

import pytest

from cortex.config import AdmissionConfig
from cortex.dialects.neutral import ChatEvent, Ended, Failed, TextDelta
from cortex.dialects.openai_completions import StreamEncoder
from cortex.errors import EngineFailed
from cortex.neuron.admission import Admission
from cortex.neuron.answers import Answer, Start, StreamedAnswer
from cortex.neuron.metrics import Meter, Metrics
from cortex.types import FinishReason

pytestmark = pytest.mark.anyio


async def endless(closed: list[int], index: int) -> AsyncGenerator[ChatEvent, None]:
    try:
        while True:
            yield TextDelta("x")
            await asyncio.Event().wait()
    finally:
        closed.append(index)


async def failing() -> AsyncGenerator[ChatEvent, None]:
    yield Failed(EngineFailed("the step failed"))


async def without_end() -> AsyncGenerator[ChatEvent, None]:
    yield TextDelta("x")


class Bench:
    def __init__(self) -> None:
        self.admission = Admission(AdmissionConfig(max_in_flight=4))
        self.metrics = Metrics()
        self.held = ExitStack()
        self.closed: list[int] = []
        self.released = 0
        self.held.callback(self._release)
        self.meter: Meter = self.metrics.begin("completions", "id")

    def _release(self) -> None:
        self.released += 1

    def answer(self, *starts: Start) -> Answer:
        return Answer(starts, self.admission.ask(len(starts)), self.held, self.meter)


async def test_an_interrupt_before_the_first_step_is_an_ending_too() -> None:
    bench = Bench()
    answer = bench.answer(partial(endless, bench.closed, 0))
    answer.interrupt()
    assert await answer.next() == [(0, Ended(FinishReason.CANCELLED))]
    assert answer.over
    await answer.close("ok")
    assert (bench.meter.outcome, bench.released, bench.admission.running) == ("cancelled", 1, 1)


async def test_a_failure_of_one_sequence_ends_the_stream_and_the_others() -> None:
    bench = Bench()
    answer = bench.answer(partial(endless, bench.closed, 0), failing)
    stream = StreamedAnswer(answer, StreamEncoder(id="1", model="m", created=1, choices=2), keep_alive_seconds=60.0)
    sent = b"".join([chunk async for chunk in stream])
    assert b"engine_failed" in sent
    assert not sent.endswith(b"[DONE]\n\n")
    assert bench.closed == [0]
    assert (bench.meter.outcome, bench.released, bench.admission.running) == ("engine_failed", 1, 0)


async def test_a_stream_that_was_never_read_lets_go_as_well() -> None:
    bench = Bench()
    answer = bench.answer(partial(endless, bench.closed, 0))
    encoder = StreamEncoder(id="1", model="m", created=1)
    async with aclosing(StreamedAnswer(answer, encoder, keep_alive_seconds=60.0)):
        assert (await answer.next())[0][1] == TextDelta("x")
    assert (bench.closed, bench.meter.outcome, bench.released) == ([0], "cancelled", 1)


async def test_a_generation_without_an_end_is_a_failure() -> None:
    bench = Bench()
    answer = bench.answer(without_end)
    events = []
    while not answer.over:
        events += await answer.next()
    assert isinstance(events[-1][1], Failed)
    await answer.close("ok")
    assert bench.meter.outcome == "internal_error"
