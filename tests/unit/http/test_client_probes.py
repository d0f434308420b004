"""A connection to another host asks for life signs, so that a host that is gone without a word is noticed."""

import asyncio
import socket
import sys

import pytest

from cortex.http import UpstreamClient


@pytest.mark.skipif(sys.platform != "linux", reason="the options have these names on Linux")
def test_connections_are_probed_while_they_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []

    class Kept(socket.socket):
        def __init__(self, *args: int, fileno: int | None = None) -> None:
            super().__init__(*args, fileno=fileno)
            if fileno is None:  # the server's side comes by its number
                made.append(self)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhe")
        await writer.drain()
        writer.close()

    async def run() -> list[int]:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, UpstreamClient() as client:
            monkeypatch.setattr("cortex.http.client.socket.socket", Kept)
            async with client.open("GET", f"http://127.0.0.1:{port}/") as response:
                [one] = made
                wanted = [
                    (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
                    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
                ]
                found = [one.getsockopt(level, option) for level, option in wanted]
                assert await response.read(10) == b"he"
        return found

    assert asyncio.run(run()) == [1, 5, 3, 20_000]
