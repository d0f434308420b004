"""Interruptions: ends the requests that run, when the gateway cannot wait for them, with an error that says so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cortex.errors import ShuttingDown

__all__ = ["Interruptions"]


class Interruptions:
    """What runs inside `scope` can be ended from outside."""

    def __init__(self) -> None:
        self._open: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def scope(self) -> AsyncIterator[None]:
        """Raises ShuttingDown when it is interrupted."""
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._open.add(limit)
                try:
                    yield
                finally:
                    self._open.discard(limit)
        except TimeoutError:
            if not limit.expired():
                raise
            raise ShuttingDown("The gateway is shutting down; send the request again.", retry_after=1.0) from None

    def interrupt(self) -> None:
        """End everything that runs now."""
        now = asyncio.get_running_loop().time()
        for limit in self._open:
            limit.reschedule(now)
