"""The checks every streaming server must pass: separation, leaving clients, slow readers, bad bodies, limits, drain."""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest

from cortex.http import App, Request, Response, Server, Stream
from tests.unit.http.doors import Loopback, get, loopback, plain_error, wire

pytestmark = pytest.mark.anyio
WAIT = 10.0


class Probe:
    """An App whose handlers wait for the test's word and say what became of them."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.go = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.closed = asyncio.Event()
        self.made = 0
        self.app = App("probe", on_error=plain_error, max_body_bytes=100_000)
        self.app.get("/wait")(self.wait)
        self.app.get("/late-stream")(self.late_stream)
        self.app.get("/stream")(self.stream)
        self.app.get("/tight")(self.tight)
        self.app.get("/breaks")(self.breaks)
        self.app.post("/take")(self.take)

    async def wait(self, _request: Request) -> Response:
        self.started.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return Response(body=b"done")

    async def late_stream(self, request: Request) -> Stream:
        await self.wait(request)
        return await self.stream(request)

    async def stream(self, _request: Request) -> Stream:
        async def content() -> AsyncGenerator[bytes, None]:
            try:
                yield b"data: first\n\n"
                self.started.set()
                await self.go.wait()
                yield b"data: second\n\n"
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
            finally:
                self.closed.set()

        return Stream(content())

    async def tight(self, request: Request) -> Stream:
        async def content() -> AsyncGenerator[bytes, None]:
            try:
                for _ in range(100_000_000):
                    self.made += 1
                    yield b"x" * 16384
            finally:
                self.closed.set()

        return Stream(content(), stall_seconds=float(request.query.get("stall", "60")))

    async def breaks(self, _request: Request) -> Stream:
        async def content() -> AsyncGenerator[bytes, None]:
            yield b"data: first\n\n"
            raise ZeroDivisionError

        return Stream(content())

    async def take(self, request: Request) -> Response:
        return Response(body=str(len(request.body)).encode())


@pytest.fixture
async def probe() -> Probe:
    return Probe()


@pytest.fixture
async def door(probe: Probe) -> AsyncIterator[Loopback]:
    async with loopback(probe.app) as open_door:
        yield open_door


async def happens(event: asyncio.Event) -> None:
    async with asyncio.timeout(WAIT):
        await event.wait()


async def idle(server: Server) -> None:
    assert server._adapter is not None
    async with asyncio.timeout(WAIT):
        await server._adapter.wait_idle()


async def test_each_chunk_arrives_before_the_next_is_made(probe: Probe, door: Loopback) -> None:
    async with door.client.open("GET", door.server.url + "/stream") as response:
        chunks = response.chunks()
        assert await anext(chunks) == b"data: first\n\n"
        probe.go.set()
        assert await anext(chunks) == b"data: second\n\n"
        assert [chunk async for chunk in chunks] == []
    await happens(probe.closed)


@pytest.mark.parametrize("path", ["/wait", "/late-stream"])
async def test_a_client_that_leaves_before_the_first_byte_cancels_the_handler(
    probe: Probe, door: Loopback, path: str
) -> None:
    async with wire(door.server) as raw:
        await raw.send(get(path))
        await happens(probe.started)
        raw.abort()
        await happens(probe.cancelled)
    await idle(door.server)


async def test_a_client_that_leaves_in_a_pause_of_the_stream_cancels_it(probe: Probe, door: Loopback) -> None:
    async with wire(door.server) as raw:
        await raw.send(get("/stream"))
        await raw.until(b"first")
        await happens(probe.started)
        raw.abort()
        await happens(probe.cancelled)
        await happens(probe.closed)
    await idle(door.server)


async def test_a_client_that_leaves_in_mid_stream_ends_even_a_stream_that_never_waits(
    probe: Probe, door: Loopback
) -> None:
    async with wire(door.server) as raw:
        await raw.send(get("/tight"))
        await raw.until(b"x")
        raw.abort()
        await happens(probe.closed)
    await idle(door.server)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_a_reader_that_stops_reading_holds_little_memory_and_is_cut_off(probe: Probe, door: Loopback) -> None:
    before = resident_bytes()
    async with wire(door.server) as raw:
        raw.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await raw.send(get("/tight?stall=0.3"))
        await happens(probe.closed)
        assert probe.made * 16384 < 64 * 1024 * 1024
        assert resident_bytes() - before < 64 * 1024 * 1024
    await idle(door.server)


async def test_a_stream_that_breaks_is_cut_and_not_ended_as_if_whole(probe: Probe, door: Loopback) -> None:
    async with wire(door.server) as raw:
        await raw.send(get("/breaks"))
        rest = await raw.reader.read()
    assert b"first" in rest
    assert not rest.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    "body",
    [
        b"transfer-encoding: chunked\r\n\r\nZZZ\r\nnonsense\r\n",
        b"transfer-encoding: chunked\r\n\r\n5\r\nab\r\n0\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\n-1\r\nab\r\n0\r\n\r\n",
    ],
)
async def test_a_badly_framed_body_is_400_and_the_server_lives(door: Loopback, body: bytes) -> None:
    async with wire(door.server) as raw:
        await raw.send(b"POST /take HTTP/1.1\r\nhost: x\r\n" + body)
        assert (await raw.head()).startswith("HTTP/1.1 400")
    assert (await door.ask("POST", "/take", body=b"abc")).body == b"3"


async def test_a_body_that_is_cut_short_is_400_to_a_client_that_still_listens(door: Loopback) -> None:
    async with wire(door.server) as raw:
        await raw.send(b"POST /take HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc")
        raw.writer.write_eof()
        assert (await raw.head()).startswith("HTTP/1.1 400")
    assert (await door.ask("POST", "/take", body=b"abc")).body == b"3"


async def test_a_declared_length_over_the_limit_is_413_before_the_body_comes(door: Loopback) -> None:
    async with wire(door.server) as raw:
        await raw.send(b"POST /take HTTP/1.1\r\nhost: x\r\ncontent-length: 100001\r\n\r\n")
        assert (await raw.head()).startswith("HTTP/1.1 413")


async def test_a_chunked_body_over_the_limit_is_413_while_it_is_read(door: Loopback) -> None:
    async with wire(door.server) as raw:
        await raw.send(b"POST /take HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(11):
            await raw.send(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
        assert (await raw.head()).startswith("HTTP/1.1 413")


@pytest.mark.parametrize("extra", ["".join(f"x-{i}: 1\r\n" for i in range(200)), f"x-big: {'x' * 1_000_000}\r\n"])
async def test_too_many_or_too_big_headers_are_refused(door: Loopback, extra: str) -> None:
    async with wire(door.server) as raw:
        await raw.send(get("/wait", extra=extra))
        assert (await raw.head()).startswith("HTTP/1.1 431")


async def test_stop_lets_a_request_end_within_the_drain_time(probe: Probe) -> None:
    async with loopback(probe.app) as door, asyncio.TaskGroup() as group:
        asking = group.create_task(door.ask("GET", "/wait"))
        await happens(probe.started)
        stopping = group.create_task(door.server.stop(WAIT))
        await refused(door.server)
        assert not door.server.ready
        probe.go.set()
        assert (await asking).body == b"done"
        await stopping


async def test_stop_cuts_what_outlives_the_drain_time(probe: Probe) -> None:
    async with loopback(probe.app) as door, wire(door.server) as raw:
        await raw.send(get("/wait"))
        await happens(probe.started)
        async with asyncio.timeout(WAIT):
            await door.server.stop(0.05)
        assert probe.cancelled.is_set()
        assert door.server.in_flight == 0


async def test_a_stop_that_is_cancelled_cuts_the_drain_and_still_closes_everything(probe: Probe) -> None:
    async with loopback(probe.app) as door, wire(door.server) as raw:
        await raw.send(get("/wait"))
        await happens(probe.started)
        stopping = asyncio.get_running_loop().create_task(door.server.stop(WAIT))
        await refused(door.server)
        stopping.cancel()
        async with asyncio.timeout(WAIT):
            await asyncio.wait([stopping])
        assert stopping.cancelled()
        assert probe.cancelled.is_set()
        assert door.server._task is not None
        assert door.server._task.done()


async def test_stop_does_not_wait_for_idle_keep_alive_connections(probe: Probe) -> None:
    async with loopback(probe.app) as door, wire(door.server) as raw:
        await raw.send(b"POST /take HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
        await raw.head()
        async with asyncio.timeout(2.0):
            await door.server.stop(WAIT)


async def refused(server: Server) -> None:
    """Until the server takes no new connection."""
    async with asyncio.timeout(WAIT):
        while True:
            try:
                _, writer = await asyncio.open_connection(server.host, server.port)
            except ConnectionError:
                return
            writer.transport.abort()
            await asyncio.sleep(0)


async def test_what_comes_over_an_open_connection_during_a_drain_is_refused(probe: Probe) -> None:
    async with loopback(probe.app) as door, asyncio.TaskGroup() as group:
        asking = group.create_task(door.ask("GET", "/wait"))
        await happens(probe.started)
        assert door.server._adapter is not None
        door.server._adapter.refuse()
        late = await door.ask("POST", "/take", body=b"x")
        assert (late.status, late.headers["retry-after"]) == (503, "1")
        probe.go.set()
        assert (await asking).body == b"done"


async def test_small_chunks_are_not_held_back_by_the_kernel(door: Loopback) -> None:
    """What a connection inherits from its listener; the delay itself shows only on some connections."""
    assert door.server._socket is not None
    assert door.server._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
