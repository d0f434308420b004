"""The end of the gateway: what runs may finish, the rest hears of it in its dialect, and a second signal hurries it."""

import asyncio
import os
import signal
import time
from typing import Any

import msgspec
import pytest

from cortex.dialects.sse import SseParser
from cortex.http.service import serve_until_signal
from tests.fakes.neuron import FakeNeuron
from tests.gateway.rig import CHAT, COMPLETIONS, MESSAGES, RESPONSES, Answer, Rig, body_for, running, soon

pytestmark = pytest.mark.anyio
ALL = (CHAT, COMPLETIONS, MESSAGES, RESPONSES)
WORDS = "The gateway is shutting down"


async def begun(rig: Rig, beast: FakeNeuron, path: str, *, stream: bool) -> asyncio.Future[Answer]:
    """A request that stands at its gate in the middle of the answer."""
    beast.hold("alpha", gate_at=1)
    asking = asyncio.ensure_future(rig.post(path, body_for(path, stream=stream), {"x-request-id": "req_mine"}))
    await beast.until(lambda: beast.running)
    if stream:
        await rig.until(lambda: rig.gateway.server.in_flight == 1)
    return asking


def error_of(answer: Answer, path: str, *, stream: bool) -> dict[str, Any]:
    """The error in its dialect's envelope."""
    if not stream:
        assert answer.status == (529 if path == MESSAGES else 503)
        assert answer.headers["retry-after"] == "1"
        told = answer.json
    else:
        told = msgspec.json.decode(SseParser().feed(answer.body)[-1].data)
    if path == RESPONSES and stream:
        assert told["type"] == "response.failed"
        told = told["response"]
    if path == MESSAGES:
        assert told["request_id"] == "req_mine"
    error: dict[str, Any] = told["error"]
    return error


async def test_what_runs_may_finish(beast: FakeNeuron) -> None:
    async with running(beast, drain_secs=20.0) as rig:
        await rig.sees_loaded("beast", "alpha")
        asking = await begun(rig, beast, CHAT, stream=True)
        stopping = asyncio.ensure_future(rig.gateway.stop())
        await asyncio.wait([stopping], timeout=0)
        beast.script("alpha").gate.set()
        assert (await soon(asking)).body.endswith(b"data: [DONE]\n\n")
        await soon(stopping)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ALL)
async def test_what_does_not_finish_in_time_is_told_so(beast: FakeNeuron, path: str, stream: bool) -> None:
    async with running(beast, drain_secs=0.05) as rig:
        await rig.sees_loaded("beast", "alpha")
        asking = await begun(rig, beast, path, stream=stream)
        await soon(rig.gateway.stop())
        assert WORDS in error_of(await soon(asking), path, stream=stream)["message"]
        await soon(beast.until(lambda: beast.cancelled == 1))


async def test_a_request_that_waits_for_a_load_is_told_so(beast: FakeNeuron) -> None:
    beast.load_gate.clear()
    async with running(beast, drain_secs=0.05) as rig:
        asking = asyncio.ensure_future(rig.post(CHAT, body_for(CHAT, "beta")))
        await beast.until(lambda: beast.loads)
        await soon(rig.gateway.stop())
        answer = await soon(asking)
        assert (answer.status, answer.error["code"]) == (503, "shutting_down")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_second_signal_ends_what_runs_with_an_error(beast: FakeNeuron, stream: bool) -> None:
    began = time.monotonic()
    async with running(beast, drain_secs=60.0) as rig:
        await rig.sees_loaded("beast", "alpha")
        asking = await begun(rig, beast, MESSAGES, stream=stream)

        async def ready() -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)

        await soon(serve_until_signal(_Started(rig), ready))
        assert WORDS in error_of(await soon(asking), MESSAGES, stream=stream)["message"]
    assert time.monotonic() - began < 20


class _Started:
    """A gateway that runs already, as the service that a signal ends."""

    def __init__(self, rig: Rig) -> None:
        self.stop = rig.gateway.stop
        self.hurry = rig.gateway.hurry
        self.status_line = rig.gateway.status_line
        self.alive = rig.gateway.alive

    async def start(self) -> None:
        """Nothing."""
