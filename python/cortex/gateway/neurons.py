"""Neurons: the management calls to a host, typed, each with its own deadline; the host's errors as our classes."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec

from cortex import errors
from cortex.dialects.sse import SseParser
from cortex.errors import CortexError, ServiceUnavailable, UpstreamError, UpstreamMalformed
from cortex.fleet.served import ServedList, served
from cortex.http import UpstreamClient
from cortex.protocol import (
    Discovery,
    Health,
    LoadRequest,
    LoadResult,
    ModelEntry,
    NeuronEvent,
    UnloadRequest,
    UnloadResult,
)

__all__ = [
    "LOAD_SECONDS",
    "NeuronClient",
    "NoSuchRoute",
    "load_error",
    "management_error",
    "retry_after_of",
]

T = TypeVar("T")
_ANSWER_LIMIT = 8 * 1024 * 1024
_CALL_SECONDS = 5.0
_TOKENS_SECONDS = 30.0
_UNLOAD_SECONDS = 60.0
LOAD_SECONDS = 6 * 3600.0
_MESSAGE_LIMIT = 500

_KINDS: dict[str, type[CortexError]] = {
    kind.code: kind
    for family in (errors.LoadError, errors.CapacityError, errors.RequestError)
    for kind in (family, *family.__subclasses__())
}


class NoSuchRoute(UpstreamError):
    """The host does not have this management route (an older one)."""


class _Count(msgspec.Struct, frozen=True):
    count: int


class _Envelope(msgspec.Struct, frozen=True):
    error: dict[str, Any] | str


def retry_after_of(headers: dict[str, str]) -> float | None:
    """Seconds of a Retry-After header, None when there is none (a date counts as none)."""
    text = headers.get("retry-after", "")
    return float(text) if text.isdigit() else None


def management_error(status: int, body: bytes, *, retry_after: float | None = None) -> CortexError:
    """Our error for a management answer that is not 2xx. Its words were written for people by a neuron of ours and may
    be shown; an answer that is not in the protocol is told in our words, with the host's in a note for the log."""
    try:
        told = msgspec.json.decode(body, type=_Envelope).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = {}
    fields = told if isinstance(told, dict) else {"message": told}
    kind = _KINDS.get(str(fields.get("code")))
    message = str(fields.get("message", ""))[:_MESSAGE_LIMIT]
    if status == 404 and kind in (None, errors.RouteNotFound):
        return NoSuchRoute("The host does not know this request.")
    if kind is not None:
        core = ("message", "type", "code", "param")
        extras = {name: value for name, value in fields.items() if name not in core and isinstance(value, int | str)}
        return kind(message or "The host refused.", retry_after=retry_after, extras=extras)
    error: CortexError = UpstreamError("The host failed.")
    if status in (429, 503):
        error = ServiceUnavailable("The host cannot do it now.", retry_after=retry_after)
    error.add_note(f"the host said: status={status} body={body[:200]!r}")
    return error


def load_error(code: str | None, message: str) -> CortexError:
    """The failure that an entry of a model tells; one we do not know may pass."""
    return _KINDS.get(code or "", ServiceUnavailable)(message[:_MESSAGE_LIMIT])


class NeuronClient:
    """Management calls to the hosts, by base URL. All raise CortexError; nothing waits without a deadline."""

    def __init__(self, client: UpstreamClient) -> None:
        self._client = client

    async def discovery(self, endpoint: str) -> Discovery:
        """`GET /discovery`."""
        return await self._get(endpoint, "/discovery", Discovery)

    async def health(self, endpoint: str) -> Health:
        """`GET /health`."""
        return await self._get(endpoint, "/health", Health)

    async def models(self, endpoint: str) -> tuple[ModelEntry, ...]:
        """`GET /models`."""
        return await self._get(endpoint, "/models", tuple[ModelEntry, ...])

    async def served(self, endpoint: str, only: Sequence[str]) -> tuple[ModelEntry, ...]:
        """`GET /v1/models` of a server that is not ours; those that one of the patterns names, without any all."""
        return served(await self._get(endpoint, "/v1/models", ServedList), only)

    async def load(self, endpoint: str, request: LoadRequest) -> LoadResult:
        """`POST /models/load`; may take as long as a download."""
        body = msgspec.json.encode(request)
        return await self._call("POST", f"{endpoint}/models/load", LoadResult, body=body, seconds=LOAD_SECONDS)

    async def unload(self, endpoint: str, request: UnloadRequest) -> UnloadResult:
        """`POST /models/unload`; the host waits for the model's requests as long as the request says."""
        body = msgspec.json.encode(request)
        seconds = request.drain_seconds + _UNLOAD_SECONDS
        return await self._call("POST", f"{endpoint}/models/unload", UnloadResult, body=body, seconds=seconds)

    async def restart(self, endpoint: str) -> None:
        """`POST /restart`: the host ends what it does and begins anew. Raises NoSuchRoute where it cannot."""
        await self._call("POST", f"{endpoint}/restart", dict[str, str], body=b"{}", seconds=_CALL_SECONDS)

    async def count_tokens(self, endpoint: str, model: str, prompt: Mapping[str, msgspec.Raw]) -> int:
        """`POST /tokenize`: tokens of the rendered prompt; `prompt` is `messages` and `tools` of a chat request."""
        body = msgspec.json.encode({"model": model, **prompt})
        return (await self._call("POST", f"{endpoint}/tokenize", _Count, body=body, seconds=_TOKENS_SECONDS)).count

    async def tokens(self, endpoint: str, path: str, body: bytes) -> bytes:
        """`POST /tokenize` or `/detokenize`; the answer as it is."""
        return bytes(await self._call("POST", endpoint + path, msgspec.Raw, body=body, seconds=_TOKENS_SECONDS))

    async def events(self, endpoint: str, *, idle_seconds: float) -> AsyncGenerator[NeuronEvent, None]:
        """`GET /events` until it ends. Raises NoSuchRoute where the host has none, UpstreamLost after silence."""
        url = f"{endpoint}/events"
        async with self._client.open("GET", url, idle_seconds=idle_seconds) as response:
            if response.status != 200:
                raise management_error(response.status, await response.read(_ANSWER_LIMIT))
            parser = SseParser()
            async with aclosing(response.chunks()) as chunks:
                async for chunk in chunks:
                    for event in parser.feed(chunk):
                        yield _decode(event.data, NeuronEvent)

    async def _get(self, endpoint: str, path: str, kind: type[T]) -> T:
        return await self._call("GET", endpoint + path, kind, seconds=_CALL_SECONDS)

    async def _call(self, method: str, url: str, kind: type[T], *, seconds: float, body: bytes | None = None) -> T:
        headers = {"content-type": "application/json"} if body is not None else {}
        try:
            async with (
                asyncio.timeout(seconds),
                self._client.open(method, url, headers=headers, body=body, idle_seconds=seconds) as response,
            ):
                answer = await response.read(_ANSWER_LIMIT)
        except TimeoutError as exc:
            raise errors.UpstreamLost("The host did not answer in time.") from exc
        if response.status >= 300:
            raise management_error(response.status, answer, retry_after=retry_after_of(response.headers))
        return _decode(answer, kind)


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        error = UpstreamMalformed("The host answered something that is not its protocol.")
        error.add_note(str(exc))
        raise error from exc
