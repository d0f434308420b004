"""Retries: how many requests may be sent a second time, as a share of all, so that a sick fleet is not asked twice as
much."""

__all__ = ["RetryBudget"]

_EARNED = 0.2  # a retry for every fifth request
_MOST = 20.0


class RetryBudget:
    """Starts full, so that the first failures of a quiet gateway are retried."""

    def __init__(self) -> None:
        self._left = _MOST

    def earn(self) -> None:
        """A request came in."""
        self._left = min(_MOST, self._left + _EARNED)

    def spend(self) -> bool:
        """Whether one more attempt may be made; it is counted then."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
