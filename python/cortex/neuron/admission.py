"""Admission: how many sequences of a model run at once, and how many wait how long for a place."""

import asyncio
from collections import deque
from types import TracebackType

from cortex.config import AdmissionConfig
from cortex.errors import QueueFull

__all__ = ["Admission", "Place"]

_SHORTEST, _LONGEST = 1.0, 120.0


class Place:
    """One place, taken or waited for. `async with place` waits for it; leaving gives it back."""

    def __init__(self, admission: "Admission") -> None:
        self._admission = admission
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> "Place":
        await self.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    async def wait(self) -> None:
        """Until the place is ours; raises QueueFull when that takes too long. Gives it back if it is cut short."""
        try:
            async with asyncio.timeout(self._admission.config.max_wait_secs):
                await self.granted
        except TimeoutError as exc:
            self.leave()
            raise self._admission.full(f"waited {self._admission.config.max_wait_secs:g} s for a place") from exc
        except asyncio.CancelledError:
            self.leave()
            raise

    def leave(self) -> None:
        """Give the place back, or stop waiting; idempotent."""
        self._admission.give_back(self)


class Admission:
    """First come, first served. Owned by the event loop."""

    def __init__(self, config: AdmissionConfig) -> None:
        self.config = config
        self._running: set[Place] = set()
        self._waiting: deque[Place] = deque()

    @property
    def running(self) -> int:
        """Sequences that have a place."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Sequences that wait for one."""
        return len(self._waiting)

    def ask(self, count: int = 1) -> list[Place]:
        """Places for so many sequences, all of them or none. Raises QueueFull at once when they cannot even wait."""
        free = max(0, self.config.max_in_flight - self.running - self.waiting)
        if count - free > self.config.max_queue_depth - self.waiting:
            raise self.full(f"{self.waiting} requests wait already")
        places = [Place(self) for _ in range(count)]
        self._waiting.extend(places)
        self._grant()
        return places

    def give_back(self, place: Place) -> None:
        """A sequence ended or waits no more."""
        if place in self._running:
            self._running.remove(place)
        elif place in self._waiting:
            self._waiting.remove(place)
        place.granted.cancel()
        self._grant()

    def full(self, why: str) -> QueueFull:
        """The refusal, with a wait that grows with the queue."""
        hint = min(_LONGEST, max(_SHORTEST, 2.0 * (self.waiting + 1) / self.config.max_in_flight))
        numbers = {"waiting": self.waiting, "limit": self.config.max_queue_depth}
        return QueueFull(
            f"All {self.config.max_in_flight} places of the model are taken: {why}.", retry_after=hint, extras=numbers
        )

    def _grant(self) -> None:
        while self._waiting and len(self._running) < self.config.max_in_flight:
            place = self._waiting.popleft()
            self._running.add(place)
            if not place.granted.done():
                place.granted.set_result(None)
