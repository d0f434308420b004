"""Progress: how far a load is, and how long it may still take once that can be measured."""

from collections.abc import Callable

from cortex.protocol import LoadProgress

__all__ = ["Progress"]

_MEASURABLE_SECONDS = 1.0


class Progress:
    """Turns counts into figures with an estimate. `now` gives monotonic seconds.

    The counts may be set from any thread; `read` is the event loop's.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._counts = ("resolve", 0, 0)
        self._stage = ""
        self._since = 0.0
        self._first = 0

    def set(self, stage: str, done: int = 0, total: int = 0) -> None:
        """Say where the load is."""
        self._counts = (stage, done, total)

    def read(self) -> LoadProgress:
        """The figures. The rate is the stage's since it was first seen: what was there before counts nothing."""
        stage, done, total = self._counts
        now = self._now()
        if stage != self._stage:
            self._stage, self._since, self._first = stage, now, done
        elapsed, made = now - self._since, done - self._first
        eta = None
        if elapsed >= _MEASURABLE_SECONDS and made > 0 and total > done:
            eta = round(elapsed * (total - done) / made, 1)
        return LoadProgress(stage=stage, done_bytes=done, total_bytes=total, eta_seconds=eta)
