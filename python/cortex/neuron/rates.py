"""Rates: tokens a second of an engine, from its counters."""

__all__ = ["Rates"]


class Rates:
    """Over the last interval in which there were any; None before the first."""

    def __init__(self) -> None:
        self.prefill: float | None = None
        self.decode: float | None = None
        self._last: tuple[float, int, int] | None = None

    def update(self, now: float, prefill_tokens: int, decode_tokens: int) -> None:
        """Take the counters at `now` (seconds)."""
        if self._last is not None and now > self._last[0]:
            seconds = now - self._last[0]
            if prefill_tokens > self._last[1]:
                self.prefill = round((prefill_tokens - self._last[1]) / seconds, 1)
            if decode_tokens > self._last[2]:
                self.decode = round((decode_tokens - self._last[2]) / seconds, 1)
        self._last = (now, prefill_tokens, decode_tokens)
