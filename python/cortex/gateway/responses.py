"""Responses: the handler of `/v1/responses`, decoded, asked as a chat completion, answered in the caller's dialect."""

import secrets
import time

import msgspec

from cortex.dialects import openai_chat, openai_responses
from cortex.dialects.neutral import ChatEvent, Ended
from cortex.dialects.openai_responses import ResponsesRequest
from cortex.dialects.sse import KEEP_ALIVE
from cortex.gateway.inference import IGNORED, Inference, Style, finish
from cortex.gateway.metrics import Meter, Metrics
from cortex.gateway.translate import Translation
from cortex.gateway.upstream import Call
from cortex.http import Request, Response, Stream

__all__ = ["Responses"]


class Responses:
    """Answers requests through `inference`, which knows the hosts."""

    def __init__(self, inference: Inference, metrics: Metrics) -> None:
        self._inference = inference
        self._metrics = metrics

    async def create(self, request: Request) -> Response | Stream:
        """`POST /v1/responses`."""
        meter = self._metrics.begin("responses")
        try:
            wire = openai_responses.parse_request(request.body)
            asked = openai_responses.read_request(wire, signing_key=self._inference.signing_key)
            model = await self._inference.model(wire.model, meter)
            body = openai_chat.encode_request(msgspec.structs.replace(asked.chat, model=model.id))
            call = self._inference.call(request, model, "/v1/chat/completions", body, meter)
            return await self._answer(call, asked)
        except BaseException as error:
            finish(meter, error)
            raise

    async def _answer(self, call: Call, asked: ResponsesRequest) -> Response | Stream:
        id_, created, key = f"resp_{secrets.token_hex(16)}", int(time.time()), self._inference.signing_key
        given = {IGNORED: ", ".join(asked.chat.ignored)} if asked.chat.ignored else {}
        if asked.chat.stream:
            encoder = openai_responses.StreamEncoder(asked, id=id_, created=created, signing_key=key)
            style = Style(KEEP_ALIVE, encoder.fail)
            return await self._inference.stream(call, lambda _: Translation(encoder), style, given)

        def finished(raw: bytes) -> bytes:
            events = _read(raw, call.meter)
            return openai_responses.encode_response(events, asked, id=id_, created=created, signing_key=key)

        return await self._inference.whole(call, finished, given)


def _read(raw: bytes, meter: Meter) -> list[ChatEvent]:
    events = openai_chat.decode_response(raw)
    meter.usage = next((event.usage for event in events if isinstance(event, Ended)), None)
    return events
