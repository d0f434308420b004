"""Responses: the handlers of `/v1/responses`, asked as a chat completion, answered in the caller's dialect, and kept.

Where answers are kept a request may go on from one of them; where they are not, that is refused.
"""

import logging
import secrets
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from cortex import logs
from cortex.dialects import openai_chat, openai_responses
from cortex.dialects.neutral import ChatEvent, Ended
from cortex.dialects.openai_responses import ResponsesRequest, StreamEncoder
from cortex.dialects.openai_responses.schema import ResponsesBody
from cortex.dialects.sse import KEEP_ALIVE
from cortex.errors import ChainingUnsupported, UnsupportedParameter
from cortex.gateway.access import caller
from cortex.gateway.counting import Counting
from cortex.gateway.inference import IGNORED, Inference, Style, finish
from cortex.gateway.metrics import Meter, Metrics
from cortex.gateway.native import NativeResponses
from cortex.gateway.response_store import Kept, ResponseStore
from cortex.gateway.translate import Translation
from cortex.gateway.upstream import Call
from cortex.http import Request, Response, Stream, json_response

__all__ = ["Responses"]

_log = logging.getLogger("cortex.gateway")


class Responses:
    """Answers requests through `inference`, which knows the hosts; `store` None = answers are not kept. `native` is
    asked first."""

    def __init__(
        self,
        inference: Inference,
        counting: Counting,
        metrics: Metrics,
        store: ResponseStore | None,
        native: NativeResponses,
    ) -> None:
        self._inference = inference
        self._native = native
        self._counting = counting
        self._metrics = metrics
        self._store = store

    async def create(self, request: Request) -> Response | Stream:
        """`POST /v1/responses`."""
        meter = self._metrics.begin("responses")
        try:
            if (passed := await self._native.answer(request, meter)) is not None:
                return passed
            asked, previous = await self._read(request.body)
            model = await self._inference.model(asked.chat.model, meter)
            if asked.shorten:
                asked = msgspec.structs.replace(asked, chat=await self._counting.fitted(asked.chat, meter))
            call = self._inference.chat_call(request, model, asked.chat, meter)
            return await self._answer(call, _Answer(asked, previous, self._inference.signing_key))
        except BaseException as error:
            finish(meter, error)
            raise

    async def input_tokens(self, request: Request) -> Response:
        """`POST /v1/responses/input_tokens`."""
        meter = self._metrics.begin("count_tokens")
        try:
            asked, _ = await self._read(request.body)
            counted, headers = await self._counting.counted(asked.chat, meter)
        except BaseException as error:
            finish(meter, error)
            raise
        meter.finish("ok")
        return json_response({"object": "response.input_tokens", "input_tokens": counted}, headers=headers)

    async def retrieve(self, request: Request) -> Response:
        """`GET /v1/responses/{id}`."""
        if request.query.get("stream", "false") != "false":
            raise UnsupportedParameter("`stream`: a kept answer is given whole.", param="stream")
        return Response(body=(await self._kept(request)).body)

    async def delete(self, request: Request) -> Response:
        """`DELETE /v1/responses/{id}`."""
        id_ = request.path_params["id"]
        await self._needed().delete(id_, _owner())
        return json_response({"id": id_, "object": "response", "deleted": True})

    async def input_items(self, request: Request) -> Response:
        """`GET /v1/responses/{id}/input_items`: what the request itself brought, page by page."""
        page = openai_responses.read_page(request.query)
        kept = await self._kept(request)
        items: list[dict[str, Any]] = msgspec.json.decode(kept.input)
        return Response(body=openai_responses.page_of(kept.id, items, page))

    def _needed(self) -> ResponseStore:
        if self._store is None:
            raise ChainingUnsupported("No answers are kept here.")
        return self._store

    async def _kept(self, request: Request) -> Kept:
        return await self._needed().get(request.path_params["id"], _owner(), time.time())

    async def _read(self, body: bytes) -> tuple[ResponsesRequest, str | None]:
        """The request with all that it goes on from, and the answer it goes on from."""
        wire = openai_responses.parse_request(body)
        earlier = None
        if self._store is not None:
            earlier = []
            if wire.previous_response_id is not None:
                earlier = await self._store.conversation(wire.previous_response_id, _owner(), time.time())
            wire = await self._resolved(wire, self._store)
        keeps = self._store is not None and wire.store is not False
        key = self._inference.signing_key
        asked = openai_responses.read_request(wire, signing_key=key, earlier=earlier, keeps=keeps, shortens=True)
        return asked, wire.previous_response_id

    async def _resolved(self, wire: ResponsesBody, store: ResponseStore) -> ResponsesBody:
        wanted = openai_responses.referenced(wire)
        found = await store.items(wanted, _owner(), time.time()) if wanted else {}
        return openai_responses.with_references(wire, found)

    async def _answer(self, call: Call, answer: "_Answer") -> Response | Stream:
        chat = answer.asked.chat
        given = {IGNORED: ", ".join(chat.ignored)} if chat.ignored else {}
        if chat.stream:
            encoder = answer.encoder()

            async def settle() -> None:
                if encoder.final is not None and encoder.final["error"] is None:
                    await self._keep(answer, msgspec.json.encode(encoder.final))

            style = Style(KEEP_ALIVE, encoder.fail)
            keeps = settle if answer.asked.echo["store"] else None
            return await self._inference.stream(call, lambda _: Translation(encoder), style, given, keeps)
        whole = await self._inference.whole(call, lambda raw: answer.whole(_read(raw, call.meter)), given)
        if answer.asked.echo["store"]:
            await self._keep(answer, whole.body)
        return whole

    async def _keep(self, answer: "_Answer", body: bytes) -> None:
        """Before the client hears the end, so that it may go on at once. An answer that cannot be kept is one all the
        same."""
        assert self._store is not None, "only a store makes an answer say that it is kept"
        try:
            await self._store.put(answer.kept(body), time.time())
        except OSError as error:
            logs.event(_log, logging.WARNING, "answer not kept", id=answer.id, reason=str(error))


class _Answer:
    """One answer under way, with its id."""

    def __init__(self, asked: ResponsesRequest, previous: str | None, key: bytes) -> None:
        self.asked = asked
        self.id = f"resp_{secrets.token_hex(16)}"
        self._owner = _owner()
        self._previous = previous
        self._made: Mapping[str, Any] = {"id": self.id, "created": int(time.time()), "signing_key": key}

    def encoder(self) -> StreamEncoder:
        return StreamEncoder(self.asked, **self._made)

    def whole(self, events: list[ChatEvent]) -> bytes:
        return openai_responses.encode_response(events, self.asked, **self._made)

    def kept(self, body: bytes) -> Kept:
        return Kept(
            id=self.id,
            owner=self._owner,
            previous=self._previous,
            input=msgspec.json.encode(self.asked.items),
            body=body,
        )


def _owner() -> str:
    """Whose answers the caller may see: those of its key, or those that were made without one."""
    asking = caller()
    return asking.share if asking.keyed else ""


def _read(raw: bytes, meter: Meter) -> list[ChatEvent]:
    events = openai_chat.decode_response(raw)
    meter.usage = next((event.usage for event in events if isinstance(event, Ended)), None)
    return events
