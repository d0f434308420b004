"""One ASGI request's wire: reads the capped body, watches for the client's leaving, sends with a stall limit."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from cortex.errors import BodyTooLarge, MalformedJson, RequestTimeout
from cortex.http.message import Stream

__all__ = ["ClientGone", "ClientStalled", "Connection", "Receive", "Scope", "Send"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_IDLE_SECONDS = 30.0
SEND_SECONDS = 60.0
_YIELD_EVERY = 16


class ClientGone(Exception):
    """The client closed the connection."""


class ClientStalled(Exception):
    """The client took no chunk for the stall limit."""


class Connection:
    """Owns `receive` and `send` of one request, and the watcher task while a handler runs."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._watcher: asyncio.Task[None] | None = None
        self.gone = False
        self.started = False

    async def read_body(self, declared: str | None, limit: int) -> bytes:
        """The whole body. Raises BodyTooLarge (by the declared length, then while reading), MalformedJson for a body
        that is cut or badly chunked, RequestTimeout when the client pauses too long."""
        if declared is not None and declared.isdigit() and int(declared) > limit:
            raise _too_large(limit)
        parts: list[bytes] = []
        size = 0
        while True:
            try:
                async with asyncio.timeout(BODY_IDLE_SECONDS):
                    message = await self._receive()
            except TimeoutError as exc:
                raise RequestTimeout(f"No byte of the body came for {BODY_IDLE_SECONDS:g} s.") from exc
            if message["type"] == "http.disconnect":
                raise MalformedJson("The request body is cut short or badly framed.")
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise _too_large(limit)
            parts.append(part)
            if not message.get("more_body"):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def watch(self, task: asyncio.Task[Any]) -> None:
        """From now on cancel `task` when the client leaves; only after the body was read, which needs `receive`."""
        self._watcher = asyncio.get_running_loop().create_task(self._watch(task), name="disconnect watcher")

    async def _watch(self, task: asyncio.Task[Any]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        task.cancel()

    async def unwatch(self) -> None:
        """End the watcher."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None and not watcher.done():
            watcher.cancel()
            await asyncio.wait([watcher])

    async def send_whole(self, status: int, headers: list[tuple[str, str]], body: bytes, *, head: bool) -> None:
        """Send a complete answer; for HEAD the length only."""
        pairs = [*headers, ("content-length", str(len(body)))]
        await self._start(status, pairs)
        await self._push(b"" if head else body, SEND_SECONDS, more=False)

    async def send_stream(self, stream: Stream, headers: list[tuple[str, str]], *, head: bool) -> None:
        """Send a stream to its end. Raises ClientGone or ClientStalled; always closes the content."""
        try:
            await self._start(stream.status, headers)
            if not head:
                await self._pump(stream)
            await self._push(b"", stream.stall_seconds, more=False)
        finally:
            await stream.content.aclose()

    async def _pump(self, stream: Stream) -> None:
        count = 0
        async for chunk in stream.content:
            if not chunk:
                continue
            await self._push(chunk, stream.stall_seconds, more=True)
            count += 1
            if count % _YIELD_EVERY == 0:  # sends to a client that left do not suspend: let the watcher speak
                await asyncio.sleep(0)

    async def _start(self, status: int, headers: list[tuple[str, str]]) -> None:
        if self.gone:
            raise ClientGone
        encoded = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers]
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def _push(self, chunk: bytes, limit: float, *, more: bool) -> None:
        if self.gone:
            raise ClientGone
        try:
            async with asyncio.timeout(limit):
                await self._send({"type": "http.response.body", "body": chunk, "more_body": more})
        except TimeoutError as exc:
            raise ClientStalled from exc


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request body is over the limit of {limit} bytes.", extras={"limit_bytes": limit})
