"""The real gateway in front of the real neuron with a scripted engine: both sides of the protocol mean the same."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cortex.config import GatewayConfig, GatewaySection, ModelProfile, ModelsConfig, NeuronPeer
from cortex.config.source import gateway_files
from cortex.fleet.state import Fleet
from cortex.gateway.app import Gateway
from cortex.http import UpstreamClient
from cortex.types import ModelState
from tests.gateway.rig import CHAT, COMPLETIONS, MESSAGES, TEXT, chat, message
from tests.gateway.rig import Rig as Front
from tests.neuron.rig import Rig, running

pytestmark = pytest.mark.anyio
LOOPBACK = "127.0.0.1:0"


@asynccontextmanager
async def behind(folder: Path, **settings: Any) -> AsyncIterator[tuple[Front, Rig]]:
    """A gateway whose catalogue has four models, before one host with room for two."""
    async with running(folder, memory_mb=110, **settings) as rig:
        names = ("alpha", "beta", "gamma", "broken")
        profiles = tuple(ModelProfile(id=name, source=rig.source(name)) for name in names)
        config = GatewayConfig(
            gateway=GatewaySection(listen=LOOPBACK, metrics_listen=LOOPBACK, poll_secs=0.1, drain_secs=0.1),
            neurons=(NeuronPeer(name="beast", endpoint=rig.neuron.url),),
        )
        gateway = Gateway(gateway_files(config, ModelsConfig(models=profiles), {}))
        await gateway.start()
        try:
            async with UpstreamClient() as client:
                front = Front(gateway, client)
                await front.sees(lambda fleet: fleet.hosts["beast"].serving)
                yield front, rig
        finally:
            await gateway.stop()


def states(fleet: Fleet) -> dict[str, ModelState]:
    return {name: entry.status for name, entry in fleet.hosts["beast"].models.items()}


async def test_a_request_loads_the_model_and_is_answered_in_each_dialect(tmp_path: Path) -> None:
    async with behind(tmp_path) as (front, rig):
        answer = await front.post(CHAT, chat())
        assert answer.json["choices"][0]["message"]["content"] == TEXT
        assert (await front.post(MESSAGES, message())).json["content"][0]["text"] == TEXT
        completed = await front.post(COMPLETIONS, {"model": "alpha", "prompt": "x", "stream": True})
        assert completed.body.endswith(b"data: [DONE]\n\n")
        assert len(rig.engines.plans) == 1
        assert await front.metric("cortex_cold_starts_total", model="alpha") == 1
        counted = await front.post(f"{MESSAGES}/count_tokens", message())
        assert "x-cortex-estimate" not in counted.headers
        assert counted.json["input_tokens"] > 10


async def test_the_least_recently_used_makes_room(tmp_path: Path) -> None:
    async with behind(tmp_path) as (front, rig):
        for name in ("alpha", "beta", "gamma"):
            assert (await front.post(CHAT, chat(name))).status == 200
        await front.sees(lambda fleet: states(fleet) == {"beta": ModelState.LOADED, "gamma": ModelState.LOADED})
        assert rig.engine("alpha").closed
        assert (await front.post(CHAT, chat("alpha"))).status == 200


async def test_a_broken_file_is_named_and_hurts_nobody(tmp_path: Path) -> None:
    async with behind(tmp_path) as (front, _rig):
        assert (await front.post(CHAT, chat("alpha"))).status == 200
        answer = await front.post(CHAT, chat("broken"))
        assert answer.status == 422
        assert "broken.gguf is cut short" in answer.error["message"]
        assert (await front.post(CHAT, chat("alpha"))).status == 200


async def test_what_is_loaded_here_is_known_there_at_once(tmp_path: Path) -> None:
    async with behind(tmp_path) as (front, rig):
        await rig.load("org/other", source=rig.source("other"))
        await front.sees_loaded("beast", "org/other")
        assert (await front.post(CHAT, chat("org/other"))).status == 200
        await rig.unload("org/other")
        await front.sees(lambda fleet: "org/other" not in states(fleet))
        assert (await front.post(CHAT, chat("org/other"))).status == 404


async def test_a_client_that_leaves_the_gateway_ends_the_sequence_here(tmp_path: Path) -> None:
    async with behind(tmp_path) as (front, rig):
        assert (await front.post(CHAT, chat())).status == 200
        rig.engine().script.gate_at = 1
        asking = asyncio.ensure_future(front.post(CHAT, chat(stream=True)))
        await rig.engine().until(lambda: rig.engine().running)
        asking.cancel()
        await asyncio.wait([asking])
        await rig.engine().until(lambda: rig.engine().cancelled)


async def test_a_prompt_that_is_too_long_keeps_its_numbers(tmp_path: Path) -> None:
    async with behind(tmp_path) as (front, _rig):
        answer = await front.post(MESSAGES, message(messages=[{"role": "user", "content": "x" * 5000}]))
        assert answer.status == 400
        assert answer.error["message"] == "prompt is too long: 5006 tokens > 4095 maximum"


async def test_a_host_that_drains_gets_no_more_and_finishes_what_it_has(tmp_path: Path) -> None:
    async with behind(tmp_path, drain_secs=20) as (front, rig):
        assert (await front.post(CHAT, chat())).status == 200
        rig.engine().script.gate_at = 1
        asking = asyncio.ensure_future(front.post(CHAT, chat()))
        await rig.engine().until(lambda: rig.engine().running)
        stopping = asyncio.ensure_future(rig.neuron.stop())
        await front.sees(lambda fleet: not fleet.hosts["beast"].serving)
        refused = await front.post(CHAT, chat())
        assert refused.status == 503
        rig.engine().script.gate.set()
        assert (await asking).status == 200
        await stopping
