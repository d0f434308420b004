"""Files that change while the gateway runs: what is right is in force at once, what is wrong changes nothing."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cortex.config import KeyLimits
from cortex.config.keys import change_keys, new_key
from cortex.config.source import GatewaySource
from cortex.gateway.app import Gateway
from cortex.http import UpstreamClient
from cortex.http.service import serve_until_signal
from tests.fakes.neuron import FakeNeuron
from tests.gateway.rig import CHAT, Rig, chat

pytestmark = pytest.mark.anyio
MODELS = '[[models]]\nid = "alpha"\nvram_mb = 40\n'


class Files:
    """cortex.toml and models.toml in a folder; written as an editor does, at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> None:
        beside = self.folder / f"{name}.new"
        beside.write_text(text)
        beside.replace(self.folder / name)

    def config(self, *neurons: FakeNeuron, more: str = "") -> None:
        peers = "".join(f'[[neurons]]\nname = "{one.name}"\nendpoint = "{one.endpoint}"\n' for one in neurons)
        settings = "poll_secs = 0.1\ndrain_secs = 0.1\nload_wait_secs = 5\n"
        addresses = 'listen = "127.0.0.1:0"\nmetrics_listen = "127.0.0.1:0"\n'
        self.write("cortex.toml", f"[gateway]\n{addresses}{settings}{more}{peers}")


@asynccontextmanager
async def running_from(files: Files, look_seconds: float = 0.01) -> AsyncIterator[Rig]:
    source = GatewaySource(files.folder / "cortex.toml", {})
    gateway = Gateway(source.read(), source=source)
    assert gateway._reloader is not None
    gateway._reloader._look_seconds = look_seconds
    await gateway.start()
    try:
        async with UpstreamClient() as client:
            yield Rig(gateway, client)
    finally:
        await gateway.stop()


@pytest.fixture
async def beast() -> AsyncIterator[FakeNeuron]:
    async for neuron in started("beast"):
        yield neuron


@pytest.fixture
async def small() -> AsyncIterator[FakeNeuron]:
    async for neuron in started("small"):
        yield neuron


async def started(name: str) -> AsyncIterator[FakeNeuron]:
    neuron = FakeNeuron(name)
    await neuron.start()
    neuron.put("alpha")
    try:
        yield neuron
    finally:
        await neuron.die()


@pytest.fixture
def files(tmp_path: Path, beast: FakeNeuron) -> Files:
    files = Files(tmp_path)
    files.config(beast)
    files.write("models.toml", MODELS)
    return files


async def test_a_new_alias_is_known_without_a_restart_and_a_mistake_keeps_the_old_file(files: Files) -> None:
    async with running_from(files) as rig:
        await rig.sees_loaded("beast", "alpha")
        assert (await rig.post(CHAT, chat("small"))).status == 404
        files.write("models.toml", f'{MODELS}[aliases]\nsmall = "alpha"\n"claude-*haiku*" = "alpha"\n')
        await rig.until(lambda: "small" in rig.gateway._dispatcher.policy.catalogue.aliases)
        for name in ("small", "claude-3-5-haiku-latest"):
            assert (await rig.post(CHAT, chat(name))).status == 200
        files.write("models.toml", f"{MODELS}[aliases]\nsmall = \n")
        await rig.until(lambda: any("models.toml:5" in warning for warning in rig.gateway.warnings))
        assert (await rig.post(CHAT, chat("small"))).status == 200
        assert await rig.metric("cortex_config_stale", file="models.toml") == 1
        assert await rig.metric("cortex_config_stale", file="cortex.toml") == 0
        told = (await rig.ask("GET", "/api/fleet")).json["warnings"]
        assert any("stays in force" in warning for warning in told)
        files.write("models.toml", MODELS)
        await rig.until(lambda: not rig.gateway.warnings)
        assert await rig.metric("cortex_config_stale", file="models.toml") == 0
        assert (await rig.post(CHAT, chat("small"))).status == 404


async def test_hosts_come_and_go_while_a_request_of_one_that_left_goes_on(
    files: Files, beast: FakeNeuron, small: FakeNeuron
) -> None:
    gate = beast.hold("alpha")
    async with running_from(files) as rig:
        await rig.sees_loaded("beast", "alpha")
        async with rig.open(CHAT, chat(stream=True)) as response:
            assert response.status == 200
            files.config(small)
            await rig.sees(lambda fleet: "beast" not in fleet.hosts and "small" in fleet.hosts)
            await rig.sees_loaded("small", "alpha")
            assert (await rig.post(CHAT, chat())).headers["x-cortex-neuron"] == "small"
            gate.set()
            assert (await response.read(1 << 20)).endswith(b"data: [DONE]\n\n")
        await rig.until(lambda: not rig.gateway.server.in_flight)
        assert not rig.gateway.board.fleet.hosts["small"].leases
        files.config(beast, small)
        await rig.sees_loaded("beast", "alpha")
        beast.put("beta")
        await rig.sees_loaded("beast", "beta")


async def test_a_host_that_moved_is_met_anew(files: Files, beast: FakeNeuron, small: FakeNeuron) -> None:
    async with running_from(files) as rig:
        await rig.sees_loaded("beast", "alpha")
        small.name = "beast"
        files.config(small)
        await rig.sees(lambda fleet: fleet.hosts["beast"].endpoint == small.endpoint)
        await rig.sees_loaded("beast", "alpha")
        assert (await rig.post(CHAT, chat())).status == 200
        assert len(small.bodies) == 1


async def test_a_revoked_key_dies_although_another_file_is_broken(files: Files, beast: FakeNeuron) -> None:
    path = files.folder / "keys.json"
    key, record = new_key("ann", admin=False, limits=KeyLimits(), now=1.0)
    change_keys(path, lambda _: [record])
    files.config(beast, more='[auth]\nmode = "keys"\n')
    async with running_from(files) as rig:
        await rig.sees_loaded("beast", "alpha")
        headers = {"authorization": f"Bearer {key}"}
        assert (await rig.post(CHAT, chat(), headers)).status == 200
        files.write("cortex.toml", "[gateway\n")
        change_keys(path, lambda _: [])
        await rig.until(lambda: not len(rig.gateway._access.keys))
        assert (await rig.post(CHAT, chat(), headers)).status == 401
        assert (await rig.post(CHAT, chat())).status == 401


async def test_a_key_works_from_when_it_is_made(files: Files, beast: FakeNeuron) -> None:
    path = files.folder / "keys.json"
    files.config(beast, more='[auth]\nmode = "keys"\n')
    key, record = new_key("ann", admin=False, limits=KeyLimits(), now=1.0)
    async with running_from(files, look_seconds=1000.0) as rig:
        await rig.sees_loaded("beast", "alpha")
        headers = {"authorization": f"Bearer {key}"}
        assert (await rig.post(CHAT, chat(), headers)).status == 401
        change_keys(path, lambda _: [record])
        assert (await rig.post(CHAT, chat(), {"authorization": f"Bearer {key}x"})).status == 401
        assert (await rig.post(CHAT, chat(), headers)).status == 200


async def test_what_needs_a_restart_is_told(files: Files, beast: FakeNeuron) -> None:
    async with running_from(files) as rig:
        files.config(beast, more="keep_alive_secs = 1\nmax_body_bytes = 1000\n")
        await rig.until(lambda: bool(rig.gateway.warnings))
        (warning,) = rig.gateway.warnings
        assert "gateway.keep_alive_secs" in warning
        assert "gateway.max_body_bytes" in warning


async def test_sighup_reads_the_files_at_once(files: Files) -> None:
    source = GatewaySource(files.folder / "cortex.toml", {})
    gateway = Gateway(source.read(), source=source)
    assert gateway._reloader is not None
    gateway._reloader._look_seconds = 1000.0

    async def when_ready() -> None:
        files.write("models.toml", "")
        os.kill(os.getpid(), signal.SIGHUP)
        await gateway.board.until(lambda _: not gateway._dispatcher.policy.catalogue.profiles)
        os.kill(os.getpid(), signal.SIGTERM)

    await serve_until_signal(gateway, when_ready)
