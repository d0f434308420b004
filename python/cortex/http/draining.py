"""Drain: the end of one server: its requests may finish for a while, then they are told to end, then they are cut."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from cortex.http.server import Server

__all__ = ["CUT_SECONDS", "Drain"]

_log = logging.getLogger("cortex.http")
CUT_SECONDS = 2.0  # for the endings of what was interrupted to go out


class Drain:
    """`interrupt` makes every request end with an ending that says so; it is called once, after `seconds` or when
    somebody is in a hurry. The server's own limit has to be longer by CUT_SECONDS."""

    def __init__(self, server: Server, seconds: float, interrupt: Callable[[], None]) -> None:
        self._server = server
        self._seconds = seconds
        self._interrupt = interrupt
        self._hurry = asyncio.Event()

    def hurry(self) -> None:
        """Interrupt now, or as soon as the drain begins."""
        self._hurry.set()

    async def run(self) -> None:
        """Stop the server. Cancelled meanwhile, it cuts what runs."""
        loop = asyncio.get_running_loop()
        stopping = loop.create_task(self._server.stop(), name="stop the server")
        hurrying = loop.create_task(self._hurry.wait(), name="wait for a hurry")
        try:
            await asyncio.wait([stopping, hurrying], timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
            if not stopping.done():
                _log.warning("ending what still runs", extra={"fields": {"requests": self._server.in_flight}})
                self._interrupt()
                await asyncio.wait([stopping], timeout=CUT_SECONDS)
        finally:
            hurrying.cancel()
            stopping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await stopping
