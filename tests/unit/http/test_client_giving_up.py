"""A request that is given up at any moment of its connect: its descriptor is closed once."""

import asyncio
import gc
import warnings
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import pytest
import uvloop

from cortex.http import UpstreamClient

TURNS = 12  # of the loop, after which a connect to loopback is over


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhe")
        await writer.drain()
    writer.close()


async def ask(client: UpstreamClient, url: str) -> None:
    async with client.open("GET", url) as response:
        await response.read(10)


async def given_up_after(turns: int) -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, UpstreamClient() as client:
        asking = asyncio.ensure_future(ask(client, f"http://127.0.0.1:{port}/"))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking


def run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


@pytest.mark.parametrize("turns", range(TURNS))
def test_no_socket_is_left_that_would_close_a_descriptor_of_somebody_else(turns: int) -> None:
    """A socket object that is collected with a number in it says so, and closes whatever has the number by then."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        run(given_up_after(turns))
        gc.collect()
    assert [str(one.message) for one in told if "socket" in str(one.message)] == []
