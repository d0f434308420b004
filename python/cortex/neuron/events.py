"""Events: what happens on this host, to everyone who listens at `GET /events`.

Each listener gets a snapshot first, so that a reconnect is all a client needs to resume. A listener that falls behind
loses the events it missed and gets a new snapshot instead.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable

import msgspec

from cortex.dialects import sse
from cortex.protocol import NeuronEvent

__all__ = ["EventHub"]

_BACKLOG = 256


class _Listener:
    def __init__(self) -> None:
        self.queue: list[NeuronEvent] = []
        self.news = asyncio.Event()
        self.lost = True  # it has seen nothing yet

    def put(self, event: NeuronEvent) -> None:
        if len(self.queue) >= _BACKLOG:
            self.queue.clear()
            self.lost = True
        self.queue.append(event)
        self.news.set()


class EventHub:
    """`snapshot` makes the event of all models, `beat` the one of the host's health, sent every `beat_seconds`."""

    def __init__(
        self, *, snapshot: Callable[[], NeuronEvent], beat: Callable[[], NeuronEvent], beat_seconds: float
    ) -> None:
        self._snapshot = snapshot
        self._beat = beat
        self._beat_seconds = beat_seconds
        self._listeners: set[_Listener] = set()
        self._closed = False

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def publish(self, event: NeuronEvent) -> None:
        """Tell everyone; never blocks."""
        for listener in self._listeners:
            listener.put(event)

    def close(self) -> None:
        """End all streams once they have sent what is queued."""
        self._closed = True
        for listener in self._listeners:
            listener.news.set()

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The bytes for one listener, until it leaves or the hub closes."""
        listener = _Listener()
        self._listeners.add(listener)
        try:
            while True:
                if listener.lost:
                    listener.lost = False
                    listener.queue.clear()
                    yield _bytes(self._snapshot())
                while listener.queue and not listener.lost:
                    yield _bytes(listener.queue.pop(0))
                if self._closed and not listener.lost:
                    return
                if not await self._news(listener):
                    yield _bytes(self._beat())
        finally:
            self._listeners.discard(listener)

    async def _news(self, listener: _Listener) -> bool:
        """Whether something came before the next beat."""
        try:
            async with asyncio.timeout(self._beat_seconds):
                await listener.news.wait()
        except TimeoutError:
            return False
        listener.news.clear()
        return True


def _bytes(event: NeuronEvent) -> bytes:
    return sse.encode(msgspec.json.encode(event))
