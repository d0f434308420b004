"""Answers: the sequences of one request, run side by side, each in its place, and their events as they come.

A task a sequence, so that silence can be filled with keep-alives and an end is an end in every phase. Closing an answer
cancels its sequences in the engine, gives their places back and ends the lease; that always happens, once.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import ExitStack, aclosing
from functools import partial
from typing import Protocol

from cortex.dialects.neutral import ChatEvent, Ended, Failed
from cortex.errors import CortexError
from cortex.http import BodyStream
from cortex.neuron.admission import Place
from cortex.neuron.metrics import Meter
from cortex.types import FinishReason

__all__ = ["Answer", "Encoder", "Start", "StreamedAnswer"]

_log = logging.getLogger("cortex.neuron")
Start = Callable[[], AsyncGenerator[ChatEvent, None]]


class Encoder(Protocol):
    """Makes a dialect's bytes from events; `index` is the sequence's."""

    def start(self) -> bytes: ...

    def keep_alive(self) -> bytes: ...

    def event(self, event: ChatEvent, index: int) -> bytes: ...


class Answer:
    """`starts` make the generations and `places` are theirs; `held` is closed at the end (the lease)."""

    def __init__(self, starts: Sequence[Start], places: Sequence[Place], held: ExitStack, meter: Meter) -> None:
        self._events: list[tuple[int, ChatEvent]] = []
        self._news = asyncio.Event()
        self._left = len(starts)
        self._held = held
        self._meter = meter
        self._outcome: str | None = None
        self._tasks: list[asyncio.Task[ChatEvent]] = []
        loop = asyncio.get_running_loop()
        for index, (start, place) in enumerate(zip(starts, places, strict=True)):
            task = loop.create_task(self._run(index, start, place), name=f"sequence {index}")
            task.add_done_callback(partial(self._ended, index))
            self._tasks.append(task)

    async def next(self, seconds: float | None = None) -> list[tuple[int, ChatEvent]]:
        """What has come since the last call: empty after so many seconds of silence, and at the end."""
        if not self._events and self._left:
            self._news.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._news.wait()
            except TimeoutError:
                return []
        events, self._events = self._events, []
        return events

    @property
    def over(self) -> bool:
        """Whether all sequences have ended and nothing is left to take."""
        return not self._left and not self._events

    def interrupt(self) -> None:
        """End every sequence now, with an ending that says so."""
        for task in self._tasks:
            task.cancel()

    async def close(self, outcome: str = "cancelled") -> None:
        """Let go of everything; the first outcome counts, and a failure that a sequence told before that."""
        running = [task for task in self._tasks if not task.done()]
        for task in running:
            task.cancel()
        try:
            if running:
                await asyncio.wait(running)
        finally:
            self._meter.finish(self._outcome or outcome)
            self._held.close()

    async def _run(self, index: int, start: Start, place: Place) -> ChatEvent:
        """One sequence; gives its ending."""
        try:
            async with place, aclosing(start()) as events:
                async for event in events:
                    if isinstance(event, Ended | Failed):
                        return event
                    self._put(index, event)
        except CortexError as error:
            return Failed(error)
        except Exception:
            _log.exception("generation failed")
            return Failed(CortexError("Internal error; the daemon's log has the details."))
        return Failed(CortexError("The generation has no end."))

    def _ended(self, index: int, task: asyncio.Task[ChatEvent]) -> None:
        """Also hears of a sequence that was cancelled before its first step."""
        ending = Ended(FinishReason.CANCELLED) if task.cancelled() else task.result()
        if isinstance(ending, Failed):
            self._outcome = self._outcome or ending.error.code
        elif isinstance(ending, Ended) and ending.reason is FinishReason.CANCELLED:
            self._outcome = self._outcome or "cancelled"
        self._left -= 1
        self._put(index, ending)

    def _put(self, index: int, event: ChatEvent) -> None:
        self._events.append((index, event))
        self._news.set()


class StreamedAnswer(BodyStream):
    """What the door sends of an answer. Silence is filled with keep-alives every so many seconds."""

    def __init__(self, answer: Answer, encoder: Encoder, *, keep_alive_seconds: float) -> None:
        self._answer = answer
        self._encoder = encoder
        self._seconds = keep_alive_seconds
        self._started = False
        self._broken = False  # an error was told: the rest is of no use
        self._closed = False

    async def asend(self, _value: None) -> bytes:
        """The next bytes."""
        if self._closed:
            raise StopAsyncIteration
        if not self._started:
            self._started = True
            if first := self._encoder.start():
                return first
        while not (self._answer.over or self._broken):
            events = await self._answer.next(self._seconds)
            if not events:
                return self._encoder.keep_alive()
            data = b"".join([self._encoder.event(event, index) for index, event in events])
            self._broken = self._broken or any(isinstance(event, Failed) for _, event in events)
            if data:
                return data
        await self._close("ok")
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the answer wherever it is; idempotent."""
        await self._close("ok" if self._answer.over else "cancelled")

    async def _close(self, outcome: str) -> None:
        if not self._closed:
            self._closed = True
            await self._answer.close(outcome)
