"""Inference: the handlers of the generating routes; they join dialect, fleet and upstream, and meter every ending."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Protocol

import msgspec

from cortex.config import GatewaySection
from cortex.dialects import anthropic, head, openai_chat, openai_completions, openai_embeddings
from cortex.dialects.anthropic.errors import error_event as anthropic_error_event
from cortex.dialects.anthropic.stream import PING
from cortex.dialects.neutral import ChatRequest, Ended
from cortex.dialects.openai_envelope import error_event as openai_error_event
from cortex.dialects.sse import KEEP_ALIVE
from cortex.errors import CortexError, UpstreamError
from cortex.fleet.catalogue import Model
from cortex.fleet.scheduler import Serve
from cortex.gateway.dispatch import Dispatcher, Lease
from cortex.gateway.interruptions import Interruptions
from cortex.gateway.live import LiveAnswer, Outlet
from cortex.gateway.metrics import Meter, Metrics
from cortex.gateway.relay import Relay, usage_of
from cortex.gateway.translate import Translation
from cortex.gateway.upstream import Call, Upstream
from cortex.http import Request, Response, Stream, UpstreamResponse
from cortex.types import Usage

__all__ = ["IGNORED", "Inference", "Style", "finish"]

_OPEN_SECONDS = 0.75  # so long a failure is a clean status; then the first keep-alive goes out, within a second
_ANSWER_LIMIT = 64 * 1024 * 1024
_LEAST_BYTES_PER_TOKEN = 3  # of a prompt with tools: guesses its tokens rather too high
_EMBEDDINGS_LIMIT = 256 * 1024 * 1024  # 2,048 vectors of 4,096 numbers, written out
PROMPT_TOKENS = "x-cortex-prompt-tokens"
IGNORED = "x-cortex-ignored"


class _Sink(Protocol):
    first_token: float | None
    last_token: float | None
    events: int
    usage: Usage | None

    @property
    def fresh(self) -> bool: ...

    @property
    def ended(self) -> bool: ...

    def feed(self, chunk: bytes, now: float) -> bytes: ...

    def close(self) -> bytes: ...


class Style(msgspec.Struct, frozen=True):
    """What a streamed answer says while it is silent, and when it breaks."""

    keep_alive: bytes
    error_event: Callable[[CortexError], bytes]


class Inference:
    """Handlers for `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings` and `/v1/messages`."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        upstream: Upstream,
        metrics: Metrics,
        settings: GatewaySection,
        interruptions: Interruptions,
    ) -> None:
        self._dispatcher = dispatcher
        self._upstream = upstream
        self._metrics = metrics
        self._settings = settings
        self._interruptions = interruptions
        self.signing_key = secrets.token_bytes(32)  # thinking signed by an earlier process is dropped, never refused

    async def chat(self, request: Request) -> Response | Stream:
        """`POST /v1/chat/completions`."""
        return await self._openai(request, "chat", lambda body: openai_chat.decode_request(body).ignored)

    async def completions(self, request: Request) -> Response | Stream:
        """`POST /v1/completions`."""
        return await self._openai(request, "completions", lambda body: openai_completions.decode_request(body).ignored)

    async def messages(self, request: Request) -> Response | Stream:
        """`POST /v1/messages`: decoded, asked as a chat completion, answered in the caller's dialect."""
        meter = self._metrics.begin("messages")
        try:
            asked = anthropic.decode_request(request.body, signing_key=self.signing_key)
            model = await self.model(asked.model, meter)
            call = self.chat_call(request, model, asked, meter)
            id_ = f"msg_{secrets.token_hex(12)}"
            given = {IGNORED: ", ".join(asked.ignored)} if asked.ignored else {}
            if not asked.stream:
                return await self.whole(call, lambda raw: self._as_message(raw, id_, asked.model, meter), given)

            def sink(response: UpstreamResponse) -> _Sink:
                told = response.headers.get(PROMPT_TOKENS, "")
                tokens = int(told) if told.isdigit() else max(1, len(call.body) // 4)
                encoder = anthropic.StreamEncoder(
                    id=id_, model=asked.model, input_tokens=tokens, signing_key=self.signing_key
                )
                return Translation(encoder)

            style = Style(PING, partial(anthropic_error_event, request_id=request.id))
            return await self.stream(call, sink, style, given)
        except BaseException as error:
            finish(meter, error)
            raise

    async def embeddings(self, request: Request) -> Response:
        """`POST /v1/embeddings`: as for the others, never streamed."""
        meter = self._metrics.begin("embeddings")
        try:
            name = head.peek(request.body).model
            model = await self.model(name, meter)
            given: dict[str, str] = {}
            if not isinstance(self._dispatcher.decision(model), Serve):
                ignored = openai_embeddings.decode_request(request.body).ignored
                given = {IGNORED: ", ".join(ignored)} if ignored else {}
            body = request.body if name == model.id else head.replace_model(request.body, model.id)
            call = self.call(request, model, request.path, body, meter)
            return await self.whole(
                call,
                lambda raw: _metered(raw, meter, openai_embeddings.usage_of),
                given,
                limit=_EMBEDDINGS_LIMIT,
            )
        except BaseException as error:
            finish(meter, error)
            raise

    async def _openai(self, request: Request, api: str, check: Callable[[bytes], tuple[str, ...]]) -> Response | Stream:
        """Same dialect on both sides: the bytes pass. A body that would start a load is read in full before."""
        meter = self._metrics.begin(api)
        try:
            asked = head.peek(request.body)
            model = await self.model(asked.model, meter)
            given: dict[str, str] = {}
            if not isinstance(self._dispatcher.decision(model), Serve) and (ignored := check(request.body)):
                given[IGNORED] = ", ".join(ignored)
            call = self.call(request, model, request.path, _forwarded(request.body, asked, model.id), meter)
            if not asked.stream:
                return await self.whole(call, lambda raw: _metered(raw, meter, usage_of), given)
            style = Style(KEEP_ALIVE, partial(openai_error_event, request_id=request.id))
            return await self.stream(call, lambda _: Relay(drop_usage=not asked.include_usage), style, given)
        except BaseException as error:
            finish(meter, error)
            raise

    async def model(self, name: str, meter: Meter) -> Model:
        """The model of a name, which the meter then knows. Raises ModelNotFound."""
        model = await self._dispatcher.model(name)
        meter.model = model.id
        return model

    def call(self, request: Request, model: Model, path: str, body: bytes, meter: Meter) -> Call:
        """What the hosts are asked for this request."""
        headers = {"content-type": "application/json", "x-request-id": request.id}
        return Call(model=model, path=path, body=body, headers=headers, meter=meter)

    def chat_call(self, request: Request, model: Model, asked: ChatRequest, meter: Meter) -> Call:
        """A request of another dialect as a chat completion. Servers that are not ours refuse an answer that could not
        fit beside the prompt, where ours end it at the end of the context: the limit is lowered for them."""
        chat = msgspec.structs.replace(asked, model=model.id)
        body = openai_chat.encode_request(chat)
        window = self._dispatcher.window_elsewhere(model)
        if window is not None and chat.max_tokens is not None:
            left = max(window - len(body) // _LEAST_BYTES_PER_TOKEN, window // 8)
            if chat.max_tokens > left:
                body = openai_chat.encode_request(msgspec.structs.replace(chat, max_tokens=left))
        return self.call(request, model, "/v1/chat/completions", body, meter)

    async def whole(
        self, call: Call, finished: Callable[[bytes], bytes], given: dict[str, str], *, limit: int = _ANSWER_LIMIT
    ) -> Response:
        """A non-streamed answer: nothing goes out before it is whole, so any host may make it."""

        async def consume(lease: Lease, response: UpstreamResponse) -> Response:
            body = finished(await response.read(limit))
            return Response(body=body, headers=_headers(given, lease, response))

        async with self._interruptions.scope():
            answer = await self._upstream.send(call, consume, fresh=lambda: True)
        call.meter.finish("ok")
        return answer

    async def stream(
        self,
        call: Call,
        make_sink: Callable[[UpstreamResponse], _Sink],
        style: Style,
        given: dict[str, str],
        settle: Callable[[], Awaitable[None]] | None = None,
    ) -> Stream:
        """A streamed answer, through a sink for each host that begins one. `settle` runs before each part goes out."""
        sinks: list[_Sink] = []

        async def produce(outlet: Outlet) -> None:
            async def consume(lease: Lease, response: UpstreamResponse) -> None:
                outlet.headers.update(_headers(given, lease, response))
                sinks.append(make_sink(response))
                await _pump(response, sinks[-1], outlet, settle)

            async with self._interruptions.scope():
                await self._upstream.send(call, consume, fresh=lambda: not sinks or sinks[-1].fresh)

        def ended(error: BaseException | None) -> None:
            if sinks:
                _read_off(sinks[-1], call.meter)
            finish(call.meter, error)

        live = LiveAnswer(
            produce,
            keep_alive=style.keep_alive,
            every_seconds=self._settings.keep_alive_secs,
            error_event=style.error_event,
            on_end=ended,
        )
        headers = await live.ready(_OPEN_SECONDS)
        return Stream(live, headers={**given, **headers})

    def _as_message(self, raw: bytes, id_: str, name: str, meter: Meter) -> bytes:
        events = openai_chat.decode_response(raw)
        meter.usage = next((event.usage for event in events if isinstance(event, Ended)), None)
        return anthropic.encode_response(events, id=id_, model=name, signing_key=self.signing_key)


async def _pump(
    response: UpstreamResponse, sink: _Sink, outlet: Outlet, settle: Callable[[], Awaitable[None]] | None
) -> None:
    try:
        async with aclosing(response.chunks()) as chunks:
            async for chunk in chunks:
                if data := sink.feed(chunk, time.monotonic()):
                    if settle is not None:
                        await settle()
                    await outlet.put(data)
    except UpstreamError:
        if not sink.ended:  # what breaks after the end of the answer is no part of it
            raise
    if data := sink.close():
        if settle is not None:
            await settle()
        await outlet.put(data)


def finish(meter: Meter, error: BaseException | None) -> None:
    """Write down how a request ended."""
    if error is None:
        meter.finish("ok")
    elif isinstance(error, CortexError):
        meter.finish(error.code)
    elif isinstance(error, asyncio.CancelledError | GeneratorExit):
        meter.finish("client_gone")
    else:
        meter.finish("internal_error")


def _read_off(sink: _Sink, meter: Meter) -> None:
    """The figures of a stream; one that broke off has no usage, and its events are its tokens."""
    meter.first_token, meter.last_token = sink.first_token, sink.last_token
    meter.usage = sink.usage or (Usage(completion_tokens=sink.events) if sink.events else None)


def _headers(given: dict[str, str], lease: Lease, response: UpstreamResponse) -> dict[str, str]:
    """Headers of our answer: the host's name, and what it said it ignored."""
    headers = {**given, "x-cortex-neuron": lease.neuron}
    told = [name for one in (given, response.headers) for name in one.get(IGNORED, "").split(", ") if name]
    if told:
        headers[IGNORED] = ", ".join(sorted(set(told)))
    return headers


class _Options(msgspec.Struct, frozen=True):
    stream_options: dict[str, object] | None = None


def _forwarded(body: bytes, asked: head.Head, model: str) -> bytes:
    """The bytes for the host: untouched, but for the model's name, and the usage that a stream is metered by."""
    fields: dict[str, object] = {}
    if asked.model != model:
        fields["model"] = model
    if asked.stream and not asked.include_usage:
        given = msgspec.json.decode(body, type=_Options).stream_options or {}
        fields["stream_options"] = {**given, "include_usage": True}
    return head.replace_fields(body, fields) if fields else body


def _metered(raw: bytes, meter: Meter, usage: Callable[[bytes], Usage | None]) -> bytes:
    """The host's answer untouched, once it proved to be one."""
    meter.usage = usage(raw)
    return raw
