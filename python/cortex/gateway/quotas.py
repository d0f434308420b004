"""Quotas: what each caller may ask for in a minute and at once; token buckets that refill steadily."""

from collections.abc import Callable

from cortex.errors import RateLimited
from cortex.gateway.access import Caller

__all__ = ["Bucket", "Quotas"]

_MINUTE = 60.0
_SHARES_LIMIT = 10_000


class Bucket:
    """`limit` a minute, and as many at once after a quiet minute. Can be overdrawn by what is known only afterwards."""

    def __init__(self, limit: int, now: float) -> None:
        self.limit = limit
        self._level = float(limit)
        self._at = now

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` is there; 0 = it is."""
        self._level = min(float(self.limit), self._level + (now - self._at) * self.limit / _MINUTE)
        self._at = now
        return max(0.0, (amount - self._level) * _MINUTE / self.limit)

    def take(self, amount: float) -> None:
        """Take it, there or not."""
        self._level -= amount

    @property
    def full(self) -> bool:
        """Whether it says nothing that a new one would not."""
        return self._level >= self.limit


class _Account:
    def __init__(self) -> None:
        self.running = 0
        self.requests: Bucket | None = None
        self.tokens: Bucket | None = None


class Quotas:
    """Accounts by share of callers. `now` gives monotonic seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._accounts: dict[str, _Account] = {}

    def enter(self, caller: Caller) -> None:
        """A request of the caller begins. Raises RateLimited, and then it did not."""
        limits, now = caller.limits, self._now()
        account = self._account(caller.share)
        account.requests = _resized(account.requests, limits.requests_per_minute, now)
        account.tokens = _resized(account.tokens, limits.tokens_per_minute, now)
        if limits.concurrent is not None and account.running >= limits.concurrent:
            raise _refusal(f"{limits.concurrent} requests at once", limits.concurrent, 1.0)
        if account.requests is not None and (wait := account.requests.wait(1.0, now)) > 0:
            raise _refusal(f"{account.requests.limit} requests a minute", account.requests.limit, wait)
        if account.tokens is not None and (wait := account.tokens.wait(1.0, now)) > 0:
            raise _refusal(f"{account.tokens.limit} tokens a minute", account.tokens.limit, wait)
        if account.requests is not None:
            account.requests.take(1.0)
        account.running += 1

    def leave(self, caller: Caller, tokens: int) -> None:
        """That request ended, and has used so many tokens."""
        account = self._account(caller.share)
        account.running -= 1
        assert account.running >= 0, "a request ends once"
        if account.tokens is not None:
            account.tokens.take(tokens)

    def _account(self, share: str) -> _Account:
        found = self._accounts.get(share)
        if found is None:
            if len(self._accounts) >= _SHARES_LIMIT:
                self._forget()
            found = self._accounts[share] = _Account()
        return found

    def _forget(self) -> None:
        """Drop the accounts that say nothing: nobody may fill the memory with addresses."""
        now = self._now()
        for account in self._accounts.values():
            for bucket in (account.requests, account.tokens):
                if bucket is not None:
                    bucket.wait(0.0, now)
        self._accounts = {
            share: account
            for share, account in self._accounts.items()
            if account.running
            or not all(bucket is None or bucket.full for bucket in (account.requests, account.tokens))
        }


def _resized(bucket: Bucket | None, limit: int | None, now: float) -> Bucket | None:
    if limit is None:
        return None
    return bucket if bucket is not None and bucket.limit == limit else Bucket(limit, now)


def _refusal(what: str, limit: int, wait: float) -> RateLimited:
    return RateLimited(f"The limit of {what} is reached.", retry_after=max(1.0, wait), extras={"limit": limit})
