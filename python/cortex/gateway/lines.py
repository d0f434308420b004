"""Lines: requests that wait for a model, one line a model; only its head decides, the others wait for their turn.

Bounded in all and for each share of callers, and fair between shares. Nobody loses a turn: whoever leaves a line,
served, refused or gone, hands it on.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from cortex.config import AdmissionSection
from cortex.errors import CapacityError, QueueFull, RateLimited
from cortex.fleet.fairness import FairQueue

__all__ = ["Lines", "Waiter"]


class Waiter:
    """One request in a line. `cold` once it waited for a load."""

    def __init__(self) -> None:
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.cold = False


class _Line:
    def __init__(self) -> None:
        self.queue: FairQueue[Waiter] = FairQueue()
        self.head: Waiter | None = None


class Lines:
    """All lines of the gateway; lives in one event loop. `limits` may be replaced."""

    def __init__(self, limits: AdmissionSection, on_change: Callable[[int], None]) -> None:
        self.limits = limits
        self._on_change = on_change
        self._lines: dict[str, _Line] = {}
        self._shares: dict[str, int] = {}
        self._waiting = 0

    @property
    def any(self) -> bool:
        """Whether anybody waits."""
        return bool(self._lines)

    def waiting(self, model: str) -> int:
        """How many wait for the model."""
        line = self._lines.get(model)
        return 0 if line is None else len(line.queue) + 1

    def cold(self, model: str) -> None:
        """The model is being loaded: whoever waits now waited for that."""
        line = self._lines.get(model)
        if line is not None:
            for waiter in (*line.queue.items(), line.head):
                if waiter is not None:
                    waiter.cold = True

    @asynccontextmanager
    async def turn(
        self, model: str, share: str, deadline: float, too_long: Callable[[], CapacityError]
    ) -> AsyncIterator[Waiter]:
        """The block runs at the head of the model's line, which the caller's share stands in. Raises QueueFull or
        RateLimited at once where too many wait, and `too_long` when the turn does not come before the deadline (loop
        time)."""
        self._check(share)
        line = self._lines.setdefault(model, _Line())
        waiter = Waiter()
        self._count(share, 1)
        try:
            if line.head is None:
                line.head = waiter
            else:
                line.queue.push(share, waiter)
                await _until(waiter.turn, deadline, too_long)
            yield waiter
        finally:
            self._count(share, -1)
            if line.head is waiter:
                self._hand_on(model, line)
            else:
                line.queue.remove(share, waiter)

    def _hand_on(self, model: str, line: _Line) -> None:
        line.head = line.queue.pop()
        if line.head is None:
            del self._lines[model]
        elif not line.head.turn.done():
            line.head.turn.set_result(None)

    def _check(self, share: str) -> None:
        if self._waiting >= self.limits.max_queue_depth:
            raise QueueFull(
                "Too many requests wait for models.",
                extras={"waiting": self._waiting, "limit": self.limits.max_queue_depth},
            )
        own = self._shares.get(share, 0)
        if own >= self.limits.max_queue_per_key:
            raise RateLimited(
                f"{own} requests of this key wait already.",
                extras={"waiting": own, "limit": self.limits.max_queue_per_key},
            )

    def _count(self, share: str, step: int) -> None:
        self._waiting += step
        self._shares[share] = self._shares.get(share, 0) + step
        if not self._shares[share]:
            del self._shares[share]
        self._on_change(self._waiting)


async def _until(turn: asyncio.Future[None], deadline: float, too_long: Callable[[], CapacityError]) -> None:
    try:
        async with asyncio.timeout_at(deadline):
            await turn
    except TimeoutError:
        raise too_long() from None
