"""Two ways into the same App: over loopback through our adapter, and through Robyn's own TestClient."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple, Protocol

from robyn.testing import TestClient

from cortex.errors import CortexError
from cortex.http import App, Request, Response, Server, UpstreamClient, json_response

HOST = "127.0.0.1"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Door(Protocol):
    async def ask(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer: ...


class Loopback:
    """The App behind a real Server."""

    def __init__(self, server: Server, client: UpstreamClient) -> None:
        self.server = server
        self.client = client

    async def ask(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        async with self.client.open(method, self.server.url + path, headers=headers or {}, body=body) as response:
            return Answer(response.status, response.headers, await response.read(64 * 1024 * 1024))


class InProcess:
    """The App in Robyn's TestClient, which runs a loop of its own and so needs a thread of its own."""

    def __init__(self, app: App) -> None:
        self._client = TestClient(app.robyn)

    async def ask(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        call = getattr(self._client, method.lower())
        path, _, query = path.partition("?")
        params = dict(pair.split("=") for pair in query.split("&")) if query else None
        got = await asyncio.to_thread(call, path, headers=dict(headers or {}), body=body, query_params=params)
        return Answer(got.status_code, got.headers.to_dict(), got.content)

    def close(self) -> None:
        self._client.close()


def plain_error(request: Request, error: CortexError) -> Response:
    """The error style of these tests."""
    return json_response({"code": error.code, "message": error.message, "id": request.id}, status=error.status)


@asynccontextmanager
async def loopback(app: App, *, drain_seconds: float = 0.0) -> AsyncIterator[Loopback]:
    """The App on a free port until the block ends; then nothing may be in flight."""
    server = Server(app, HOST, 0, drain_seconds=drain_seconds)
    await server.start()
    try:
        async with UpstreamClient() as client:
            yield Loopback(server, client)
    finally:
        await server.stop()


class Wire:
    """A bare connection, for what no well-behaved client does."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> str:
        """Status line and headers of the answer."""
        return (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")

    async def until(self, mark: bytes) -> bytes:
        return await self.reader.readuntil(mark)

    def abort(self) -> None:
        """Leave without a word."""
        self.writer.transport.abort()


@asynccontextmanager
async def wire(server: Server) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection(HOST, server.port, limit=1024 * 1024)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


def get(path: str, method: str = "GET", extra: str = "") -> bytes:
    """A request without a body, as bytes."""
    return f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n{extra}\r\n".encode()
