"""A listening socket that somebody else keeps open: one server drains, its successor serves who came meanwhile."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from cortex.errors import ConfigError
from cortex.http import App, Request, Response, Server, UpstreamClient, inherited_listener
from tests.unit.http.doors import plain_error

pytestmark = pytest.mark.anyio


@pytest.fixture
def kept() -> Iterator[socket.socket]:
    """The service manager's own descriptor."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        yield listener


def named(name: str, started: asyncio.Event, go: asyncio.Event) -> App:
    app = App(name, on_error=plain_error, max_body_bytes=1000)

    @app.get("/wait")
    async def wait(_request: Request) -> Response:
        started.set()
        await go.wait()
        return Response(body=name.encode())

    return app


async def ask(server_url: str) -> bytes:
    async with UpstreamClient() as client, client.open("GET", f"{server_url}/wait") as response:
        return await response.read(1000)


async def test_who_comes_during_the_drain_is_served_by_the_successor(kept: socket.socket) -> None:
    started, go = asyncio.Event(), asyncio.Event()
    first = Server(named("first", started, go), "127.0.0.1", 0, inherited=kept.dup())
    await first.start()
    url = first.url
    early = asyncio.create_task(ask(url))
    await started.wait()
    stopping = asyncio.create_task(first.stop())
    await asyncio.sleep(0.05)
    late = asyncio.create_task(ask(url))
    await asyncio.sleep(0.05)
    assert not late.done(), "a connection waits in the queue that both servers share"
    go.set()
    await stopping
    assert await early == b"first"
    second = Server(named("second", asyncio.Event(), go), "127.0.0.1", 0, inherited=kept.dup())
    await second.start()
    try:
        assert second.url == url
        assert await late == b"second"
    finally:
        await second.stop()


@pytest.mark.parametrize(
    "environ",
    [{}, {"LISTEN_FDS": "1"}, {"LISTEN_FDS": "1", "LISTEN_PID": "1"}, {"LISTEN_FDS": "x", "LISTEN_PID": "7"}],
    ids=["none", "no process named", "another process", "no number"],
)
async def test_what_is_not_handed_to_us_is_left_alone(environ: dict[str, str]) -> None:
    assert inherited_listener(environ, 7) is None


async def test_several_sockets_are_refused() -> None:
    with pytest.raises(ConfigError, match="must have one ListenStream="):
        inherited_listener({"LISTEN_FDS": "2", "LISTEN_PID": "7"}, 7)
