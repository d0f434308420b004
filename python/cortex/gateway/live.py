"""LiveAnswer: a streamed answer whose bytes a task of its own produces, so that silence can be filled and ended.

The producer runs from admission on, through waiting, loading and prefill. `ready` gives a failure the chance to be a
clean status: it returns when the answer opens, raises when it failed, and gives up after a moment, when the first
keep-alive must go out. After that a failure is the dialect's error event. Closing cancels the producer in any phase.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from cortex.errors import CortexError
from cortex.http import BodyStream

__all__ = ["LiveAnswer", "Outlet"]

_log = logging.getLogger("cortex.gateway")
_BUFFER_BYTES = 256 * 1024


class Outlet:
    """Where a producer puts its bytes: a bounded buffer with one reader."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}  # of the answer; what is added after the first bytes comes too late
        self._parts: list[bytes] = []
        self._size = 0
        self._reader: asyncio.Future[None] | None = None
        self._room = asyncio.Event()
        self._room.set()
        self.opened = False

    async def put(self, data: bytes) -> None:
        """Hand bytes on; waits while the reader is far behind. With the first ones the answer is open: status 200."""
        while self._size >= _BUFFER_BYTES:
            self._room.clear()
            await self._room.wait()
        self.opened = True
        self._parts.append(data)
        self._size += len(data)
        self.wake()

    def take(self) -> bytes:
        """All that is there, empty if nothing is."""
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        self._room.set()
        return data

    def wake(self) -> None:
        """Let the reader look."""
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def news(self, seconds: float) -> None:
        """Until somebody wakes the reader, or for so long."""
        loop = asyncio.get_running_loop()
        self._reader = loop.create_future()
        timer = loop.call_later(seconds, self.wake)
        try:
            await self._reader
        finally:
            timer.cancel()
            self._reader = None

    @property
    def waiting(self) -> bool:
        """Whether there are bytes to take."""
        return self._size > 0


class LiveAnswer(BodyStream):
    """What the door streams. `on_end` hears once how it ended: None, the failure, or CancelledError (client gone)."""

    def __init__(
        self,
        produce: Callable[[Outlet], Awaitable[None]],
        *,
        keep_alive: bytes,
        every_seconds: float,
        error_event: Callable[[CortexError], bytes],
        on_end: Callable[[BaseException | None], None],
    ) -> None:
        self._outlet = Outlet()
        self._keep_alive = keep_alive
        self._every = every_seconds
        self._pause = every_seconds
        self._error_event = error_event
        self._on_end = on_end
        self._over = False
        self._task = asyncio.get_running_loop().create_task(_run(produce, self._outlet), name="answer")
        self._task.add_done_callback(lambda _task: self._outlet.wake())

    async def ready(self, seconds: float) -> Mapping[str, str]:
        """The answer's headers, as far as they are known when it must begin. Raises the failure that came before."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        try:
            while not (self._outlet.opened or self._task.done()) and (left := deadline - loop.time()) > 0:
                await self._outlet.news(left)
        except asyncio.CancelledError:
            await self.aclose()
            raise
        if not self._outlet.opened and self._task.done() and (error := self._task.result()) is not None:
            self._end(error)
            raise error
        if not self._outlet.opened:
            self._pause = 0.0  # the first keep-alive goes out with the headers
        return self._outlet.headers

    async def asend(self, _value: None) -> bytes:
        """The next bytes: what was produced, a keep-alive after silence, or the error event."""
        if self._over:
            raise StopAsyncIteration
        if not self._outlet.waiting and not self._task.done():
            await self._outlet.news(self._pause)
        self._pause = self._every
        if self._outlet.waiting:
            return self._outlet.take()
        if not self._task.done():
            return self._keep_alive
        error = self._task.result()
        self._end(error)
        if error is None:
            raise StopAsyncIteration
        return self._error_event(error)

    async def aclose(self) -> None:
        """Cancel the producer wherever it is, and wait until it let go of the host; idempotent."""
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
        self._end(asyncio.CancelledError())

    def _end(self, error: BaseException | None) -> None:
        if not self._over:
            self._over = True
            self._on_end(error)


async def _run(produce: Callable[[Outlet], Awaitable[None]], outlet: Outlet) -> CortexError | None:
    """The failure as a value: an exception nobody fetches would only be noise at the loop's end."""
    try:
        await produce(outlet)
    except CortexError as error:
        return error
    except Exception:
        _log.exception("answer failed")
        return CortexError("Internal error; the gateway's log has the details.")
    return None
