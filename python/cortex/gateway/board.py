"""Board: the one place that holds the fleet's current value, and wakes whoever waits for a change."""

import asyncio
from collections.abc import Callable
from typing import Concatenate, ParamSpec

from cortex.fleet.state import Fleet

__all__ = ["Board"]

P = ParamSpec("P")


class Board:
    """Single owner of the fleet's state; lives in one event loop. `on_change` hears of each value that wakes others."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._waiters: set[asyncio.Future[None]] = set()
        self.on_change: Callable[[Fleet], None] = _nobody

    @property
    def fleet(self) -> Fleet:
        """The value now; it never changes, a change makes another."""
        return self._fleet

    def note(self, change: Callable[Concatenate[Fleet, P], Fleet], *args: P.args, **kwargs: P.kwargs) -> None:
        """Replace the fleet by `change(fleet, ...)`, which lets nobody do what they wait for, so nobody is woken."""
        self._fleet = change(self._fleet, *args, **kwargs)

    def apply(self, change: Callable[Concatenate[Fleet, P], Fleet], *args: P.args, **kwargs: P.kwargs) -> None:
        """Replace the fleet by `change(fleet, ...)`."""
        self._fleet = change(self._fleet, *args, **kwargs)
        self.on_change(self._fleet)
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def changed(self, seconds: float) -> None:
        """Until the next change, or for so long. What was read before the call without an await between is current."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait([waiter], timeout=seconds)
        finally:
            self._waiters.discard(waiter)

    async def until(self, holds: Callable[[Fleet], bool]) -> None:
        """Until `holds` is true of the fleet; the caller brings the deadline."""
        while not holds(self._fleet):
            await self.changed(60.0)


def _nobody(_fleet: Fleet) -> None:
    """Who listens where nobody does."""
