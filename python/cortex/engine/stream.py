"""The events of one request, between the engine that makes them and the one reader that takes them."""

import asyncio
from collections import deque

from cortex import _native

__all__ = ["Stream"]


class Stream:
    """A queue that knows its end. Bounded by the request's own `max_tokens`, since each event stands for a token."""

    def __init__(self) -> None:
        self._events: deque[_native.Event] = deque()
        self._failure: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.ended = False
        """Whether the reader has seen the end, or will never see more."""

    def put(self, event: _native.Event) -> None:
        """Add an event; the one with the ending is the last."""
        self._events.append(event)
        self._wake()

    def fail(self, failure: Exception) -> None:
        """There will be no ending: raise this after the events that are here."""
        self._failure = failure
        self._wake()

    async def next(self) -> _native.Event:
        """The next event, waiting for it."""
        while not self._events:
            if self._failure is not None:
                self.ended = True
                raise self._failure
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        event = self._events.popleft()
        self.ended = event.ending is not None
        return event

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
