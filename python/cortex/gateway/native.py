"""Native: `/v1/responses` at servers that speak it themselves: the bytes pass, as between two sides of one dialect.

Only where every host that has the model is such a server, and nothing of the request concerns answers that are kept
here; all else is asked as a chat completion (`responses`).
"""

from collections.abc import Callable

import msgspec

from cortex.dialects import head
from cortex.dialects.body import parse_body
from cortex.dialects.openai_responses.upstream import failed_event, native_usage, read_native
from cortex.dialects.sse import KEEP_ALIVE
from cortex.errors import CortexError
from cortex.fleet.catalogue import Model
from cortex.fleet.state import Fleet
from cortex.gateway.inference import Inference, Style
from cortex.gateway.metrics import Meter
from cortex.gateway.relay import Relay
from cortex.http import Request, Response, Stream, UpstreamResponse

__all__ = ["NativeRelay", "NativeResponses"]

_PATH = "/v1/responses"


class _Keeping(msgspec.Struct, frozen=True):
    store: bool | None = None
    previous_response_id: str | None = None


_KEEPING = msgspec.json.Decoder(_Keeping)


class NativeRelay(Relay):
    """One stream. It is fresh, and nothing of it goes out, until something beyond its beginning came."""

    def __init__(self) -> None:
        super().__init__(drop_usage=False)
        self._answer: bytes | None = None
        self._number = -1

    def fail(self, error: CortexError) -> bytes:
        """The event that ends the stream, in the words of its dialect."""
        return failed_event(self._answer, self._number + 1, error)

    def _passes_whole(self, whole: bytes) -> bool:
        return False

    def _pass(self, data: bytes, now: float) -> bool:
        if data == b"[DONE]":
            return True
        event = read_native(data)
        if (error := event.failure()) is not None:
            raise error
        self._number = event.sequence_number if event.sequence_number >= 0 else self._number + 1
        if event.waits:
            self._answer = self._answer or bytes(event.response)
            return True
        self._begun = True
        if event.generates:
            self.events += 1
            self.first_token = now if self.first_token is None else self.first_token
            self.last_token = now
        if event.ends:
            self._done = True
            self.usage = event.usage()
        return True


class NativeResponses:
    """`keeps`: whether answers are kept here. `fleet` is the fleet now."""

    def __init__(self, inference: Inference, fleet: Callable[[], Fleet], *, keeps: bool) -> None:
        self._inference = inference
        self._fleet = fleet
        self._keeps = keeps

    async def answer(self, request: Request, meter: Meter) -> Response | Stream | None:
        """The answer, or None where the request has to be translated."""
        if not any(host.responses for host in self._fleet().hosts.values()):
            return None
        asked = head.peek(request.body)
        model = await self._inference.model(asked.model, meter)
        if not self._may(model, parse_body(_KEEPING, request.body)):
            return None
        body = request.body if asked.model == model.id else head.replace_model(request.body, model.id)
        call = self._inference.call(request, model, _PATH, body, meter)
        if not asked.stream:
            return await self._inference.whole(call, lambda raw: _metered(raw, meter), {})
        relays = [NativeRelay()]

        def sink(_response: UpstreamResponse) -> NativeRelay:
            relays.append(NativeRelay())
            return relays[-1]

        style = Style(KEEP_ALIVE, lambda error: relays[-1].fail(error))
        return await self._inference.stream(call, sink, style, {})

    def _may(self, model: Model, keeping: _Keeping) -> bool:
        """1. Such servers alone have it. 2. The answer is not kept here. 3. What it goes on from is kept there: then
        there is one server only."""
        having = [host for host in self._fleet().having(model.id) if host.serving]
        if not having or not all(host.responses for host in having):  # 1.
            return False
        if self._keeps and (keeping.store is not False or keeping.previous_response_id is not None):  # 2.
            return False
        return keeping.previous_response_id is None or len(having) == 1  # 3.


def _metered(raw: bytes, meter: Meter) -> bytes:
    meter.usage = native_usage(raw)
    return raw
