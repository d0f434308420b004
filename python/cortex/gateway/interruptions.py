"""Interruptions: ends requests that run with an error that says why: when the gateway cannot wait for them, or when
their host has fallen silent."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from cortex.errors import CortexError, ShuttingDown, UpstreamLost

__all__ = ["Interruptions", "Silences"]


def _shutting_down() -> CortexError:
    return ShuttingDown("The gateway is shutting down; send the request again.", retry_after=1.0)


class Interruptions:
    """What runs inside `scope` can be ended from outside; `error` makes what it then raises."""

    def __init__(self, error: Callable[[], CortexError] = _shutting_down) -> None:
        self._error = error
        self._open: set[asyncio.Timeout] = set()

    @property
    def any(self) -> bool:
        """Whether something is inside."""
        return bool(self._open)

    @asynccontextmanager
    async def scope(self) -> AsyncIterator[None]:
        """Raises the error when it is interrupted."""
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
            raise self._error() from None

    def interrupt(self) -> None:
        """End everything that runs now."""
        now = asyncio.get_running_loop().time()
        for limit in self._open:
            limit.reschedule(now)


class Silences:
    """What waits for each host: it ends when the host is known to be silent, long before its own time limit."""

    def __init__(self) -> None:
        self._hosts: dict[str, Interruptions] = {}

    def scope(self, host: str) -> AbstractAsyncContextManager[None]:
        """Raises UpstreamLost when the host falls silent."""
        if host not in self._hosts:
            self._hosts[host] = Interruptions(lambda: UpstreamLost(f"{host} fell silent."))
        return self._hosts[host].scope()

    def fell_silent(self, host: str) -> None:
        """The host does not answer any more; one that nobody waits for is forgotten."""
        waiting = self._hosts.get(host)
        if waiting is None:
            return
        waiting.interrupt()
        if not waiting.any:
            del self._hosts[host]
