"""One fetch of model files: how far it is, and whether it is still wanted."""

import threading
from collections.abc import Callable

from cortex.errors import LoadError

__all__ = ["Fetch", "FetchCancelled", "ProgressCallback"]

ProgressCallback = Callable[[int, int], None]


class FetchCancelled(LoadError):
    """The fetch was called off; what has arrived is kept for the next one."""

    code = "fetch_cancelled"


class Fetch:
    """Counts bytes over all files of a model and passes a cancel on. Used by one thread, cancelled from any."""

    def __init__(self, on_progress: ProgressCallback | None = None, cancel: threading.Event | None = None) -> None:
        self.total_bytes = 0
        self._done_bytes = 0
        self._on_progress = on_progress
        self._cancel = cancel or threading.Event()

    def expect(self, total_bytes: int) -> None:
        """Say how many bytes there will be in all."""
        self.total_bytes = total_bytes
        self.advance(0)

    def advance(self, count: int) -> None:
        """Count bytes (negative when a part has to be fetched again). Raises FetchCancelled."""
        self._done_bytes += count
        if self._on_progress is not None:
            # A file may be larger than its listing said; the total never lags behind.
            self._on_progress(self._done_bytes, max(self.total_bytes, self._done_bytes))
        self.check()

    def check(self) -> None:
        """Raises FetchCancelled once the fetch is no longer wanted."""
        if self._cancel.is_set():
            raise FetchCancelled("the fetch of the model was cancelled; a new one continues where it stopped")

    def pause(self, seconds: float) -> None:
        """Wait before another attempt, unless cancelled meanwhile."""
        self._cancel.wait(seconds)
        self.check()
