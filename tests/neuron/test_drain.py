"""The end of a daemon: nothing new, what runs may finish, the rest hears of it, and it always ends."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from cortex.config import NeuronConfig
from cortex.errors import ConfigError
from cortex.http import UpstreamClient
from cortex.http.service import serve_until_signal
from cortex.neuron.app import Neuron
from tests.fakes.engine import FakeDevices, FakeEngines
from tests.neuron.rig import Rig, running

pytestmark = pytest.mark.anyio


async def started(rig: Rig, **fields: Any) -> asyncio.Future[Any]:
    """A request that stands at its gate."""
    await rig.load()
    rig.engine().script.gate_at = 1
    asking = asyncio.ensure_future(rig.chat(**fields))
    await rig.engine().until(lambda: rig.engine().running)
    return asking


async def test_what_runs_may_finish(tmp_path: Path) -> None:
    async with running(tmp_path, drain_secs=20) as rig:
        asking = await started(rig, stream=True)
        stopping = asyncio.ensure_future(rig.neuron.stop())
        await asyncio.wait([stopping], timeout=0)
        rig.engine().script.gate.set()
        answer = await asking
        await stopping
        assert answer.body.endswith(b"data: [DONE]\n\n")
        assert rig.engine().closed


@pytest.mark.parametrize("stream", [True, False])
async def test_what_does_not_finish_in_time_is_told_so(tmp_path: Path, stream: bool) -> None:
    async with running(tmp_path, drain_secs=0.05) as rig:
        asking = await started(rig, stream=stream)
        await rig.neuron.stop()
        answer = await asking
        error = answer.chunks[-1]["error"] if stream else answer.error
        assert error["code"] == "engine_failed"
        assert "cancelled before its end" in error["message"]
        assert rig.engine().cancelled == 1
        assert rig.engine().closed


async def test_a_draining_host_takes_nothing_new(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        await rig.load()
        rig.neuron.host.begin_drain()
        await rig.neuron.host.loads.close()
        answer = await rig.chat()
        assert (answer.status, answer.error["code"]) == (503, "shutting_down")
        assert "retry-after" in answer.headers
        assert (await rig.load("beta")).error["code"] == "shutting_down"
        assert (await rig.get("/health"))["status"] == "draining"


async def test_a_load_under_way_does_not_hold_up_the_end(tmp_path: Path) -> None:
    async with running(tmp_path, drain_secs=20) as rig:
        rig.engines.load_gate.clear()
        loading = asyncio.ensure_future(rig.load())
        await rig.engines.loading.wait()
        await rig.neuron.stop()
        assert (await loading).status == 503
        assert rig.engines.cancelled == 1


async def test_sigterm_ends_the_service_and_a_second_one_hurries_it(tmp_path: Path) -> None:
    engines = FakeEngines()
    config = NeuronConfig(host="127.0.0.1", port=0, drain_secs=60)
    neuron = Neuron(config, {"HOME": str(tmp_path)}, engines=engines, devices=FakeDevices(1000))
    began = time.monotonic()
    async with UpstreamClient() as client:
        rig = Rig(neuron, engines, FakeDevices(1000), client, tmp_path)
        asking: list[asyncio.Future[Any]] = []

        async def ready() -> None:
            asking.append(await started(rig, stream=True))
            os.kill(os.getpid(), signal.SIGTERM)
            asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)

        await serve_until_signal(neuron, ready)
        answer = await asking[0]
        assert "cancelled before its end" in answer.chunks[-1]["error"]["message"]
    assert time.monotonic() - began < 30
    assert engines.loaded["alpha"].closed


async def test_a_taken_port_is_an_error_that_names_it(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        config = NeuronConfig(host="127.0.0.1", port=rig.neuron.server.port)
        other = Neuron(config, {}, engines=FakeEngines(), devices=FakeDevices(1000))
        with pytest.raises(ConfigError, match=str(rig.neuron.server.port)):
            await other.start()
