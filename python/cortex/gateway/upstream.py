"""Upstream: sends one request to a host that serves the model, and to another while nothing of an answer is out."""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import msgspec

from cortex import errors, logs
from cortex.dialects.openai_chat import decode_error
from cortex.errors import CortexError
from cortex.fleet.catalogue import Model
from cortex.gateway.access import caller
from cortex.gateway.dispatch import Dispatcher, Lease
from cortex.gateway.interruptions import Silences
from cortex.gateway.metrics import Meter
from cortex.gateway.neurons import retry_after_of
from cortex.gateway.poller import Poller
from cortex.gateway.retries import RetryBudget
from cortex.http import UpstreamClient, UpstreamResponse

__all__ = ["Call", "Upstream"]

_log = logging.getLogger("cortex.gateway")
T = TypeVar("T")
Consume = Callable[[Lease, UpstreamResponse], Awaitable[T]]
_CACHE_SALT = "x-cortex-cache-salt"
_ERROR_LIMIT = 1024 * 1024
_HOST_FAILED = (errors.UpstreamError, errors.EngineFailed, errors.ShuttingDown)


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What to send: the body is final, the model is the one in it."""

    model: Model
    path: str
    body: bytes
    headers: Mapping[str, str]
    meter: Meter


class _HostError(Exception):
    """A failure of one attempt, with where it happened."""

    def __init__(self, error: CortexError, neuron: str) -> None:
        super().__init__(error.message)
        self.error = error
        self.neuron = neuron


class Upstream:
    """Runs calls. The URL is the configured endpoint; redirects are not followed. `silences` ends what waits for a host
    that the poller finds silent."""

    def __init__(
        self,
        client: UpstreamClient,
        dispatcher: Dispatcher,
        poller: Poller,
        silences: Silences,
        *,
        idle_seconds: float,
    ) -> None:
        self._client = client
        self._dispatcher = dispatcher
        self._poller = poller
        self._silences = silences
        self._idle_seconds = idle_seconds
        self._retries = RetryBudget()

    async def send(self, call: Call, consume: Consume[T], *, fresh: Callable[[], bool]) -> T:
        """What `consume` makes of a 200 answer.

        1. Lease a host that has not failed this call. 2. Send. 3. On a failure while `fresh()`: a host that turns out
        not to have the model is asked once what it has; one that is broken or away is left for any other; one that is
        only full for one that has the model loaded; where something was sent already, as far as the retries' budget
        goes. 4. When no other can take it, the call fails with the host's error; after a refused connection with the
        policy's, which says when to come again.
        """
        self._retries.earn()
        tried: set[str] = set()
        asked: set[str] = set()
        last: CortexError | None = None
        while True:
            full = isinstance(last, errors.CapacityError) and not isinstance(last, _HOST_FAILED)
            try:
                async with self._dispatcher.lease(
                    call.model, exclude=frozenset(tried), warm_only=full, prompt=call.body
                ) as lease:  # 1.
                    return await self._attempt(call, lease, consume)  # 2.
            except _HostError as failed:  # 3.
                if fresh() and await self._asked_anew(failed, asked):
                    continue
                last = self._judge(failed, call.model.id)
                tried.add(failed.neuron)
                if not (fresh() and self._may_retry(last)):
                    raise last from None
            except CortexError:
                if last is None or isinstance(last, errors.UpstreamUnreachable):
                    raise
                raise last from None  # 4.

    async def _attempt(self, call: Call, lease: Lease, consume: Consume[T]) -> T:
        call.meter.neuron = lease.neuron
        call.meter.leased = call.meter.leased or time.monotonic()
        call.meter.cold = call.meter.cold or lease.cold
        url = lease.endpoint + call.path
        headers = {**call.headers, **_salted(lease)}
        try:
            async with (
                self._silences.scope(lease.neuron),
                self._client.open(
                    "POST", url, headers=headers, body=call.body, idle_seconds=self._idle_seconds
                ) as response,
            ):
                if response.status != 200:
                    body = await response.read(_ERROR_LIMIT)
                    raise decode_error(response.status, body, retry_after=retry_after_of(response.headers))
                answer = await consume(lease, response)
        except CortexError as error:
            raise _HostError(error, lease.neuron) from error
        self._dispatcher.served(lease.neuron, call.model.id)
        return answer

    def _may_retry(self, error: CortexError) -> bool:
        """Whether another host may be asked: after a refused connection always."""
        if isinstance(error, errors.UpstreamUnreachable):
            return True
        return isinstance(error, (*_HOST_FAILED, errors.CapacityError)) and self._retries.spend()

    async def _asked_anew(self, failed: _HostError, asked: set[str]) -> bool:
        """Whether the host did not have the model and has now been asked what it has, once a call."""
        if not isinstance(failed.error, errors.ModelNotFound) or failed.neuron in asked:
            return False
        asked.add(failed.neuron)
        await self._poller.refresh(failed.neuron)
        return True

    def _judge(self, failed: _HostError, model: str) -> CortexError:
        """Learn from a failure: 1. refused: the host is down; 2. broken or leaving: look at it; 3. it does not have the
        model after all, which is no fault of the caller's."""
        error, neuron = failed.error, failed.neuron
        if isinstance(error, errors.UpstreamUnreachable):  # 1.
            self._poller.unreachable(neuron)
        elif isinstance(error, _HOST_FAILED):  # 2.
            self._dispatcher.failed(neuron, model)
            self._poller.poke(neuron)
        elif isinstance(error, errors.ModelNotFound):  # 3.
            error = errors.ServiceUnavailable(f"{neuron} has just unloaded the model.", retry_after=1.0)
        if not isinstance(error, errors.RequestError):
            notes = "; ".join(getattr(failed.error, "__notes__", [])) or None
            logs.event(_log, logging.WARNING, "host failed a request", neuron=neuron, code=error.code, notes=notes)
        return error


def _salted(lease: Lease) -> dict[str, str]:
    """Whose prompts may share cached beginnings there; nothing for servers that are not ours."""
    salt = caller().cache_salt
    return {_CACHE_SALT: salt} if salt and lease.ours else {}
