"""A client that leaves: the host hears of it at every stage, and the leases are given back."""

import asyncio

import pytest

from tests.fakes.neuron import FakeNeuron
from tests.gateway.rig import CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, Rig, body_for, chat, running, soon

pytestmark = pytest.mark.anyio


async def abandon(rig: Rig, beast: FakeNeuron, path: str, body: dict[str, object]) -> None:
    """Ask, wait until the host works on it, and leave."""
    asking = asyncio.create_task(rig.post(path, body))
    await soon(beast.until(lambda: beast.running == 1))
    asking.cancel()
    await asyncio.wait([asking])
    await soon(beast.until(lambda: beast.cancelled == 1))
    await rig.idle()


@pytest.mark.parametrize("path", [CHAT, MESSAGES, COMPLETIONS, EMBEDDINGS])
async def test_while_a_whole_answer_is_made(rig: Rig, beast: FakeNeuron, path: str) -> None:
    beast.hold("alpha")
    await abandon(rig, beast, path, body_for(path))
    assert await rig.metric("cortex_requests_total", outcome="client_gone") == 1
    assert await rig.metric("cortex_requests_in_flight") == 0


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_before_the_host_has_sent_headers(rig: Rig, beast: FakeNeuron, path: str) -> None:
    beast.hold("alpha", gate_at=0)
    beast.script("alpha").gate_headers = True
    await abandon(rig, beast, path, body_for(path, stream=True))


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_during_prefill_after_keep_alives(rig: Rig, beast: FakeNeuron, path: str) -> None:
    beast.hold("alpha", gate_at=0)
    async with asyncio.timeout(20), rig.open(path, body_for(path, stream=True)) as response:
        await anext(response.chunks())
    await soon(beast.until(lambda: beast.cancelled == 1))
    await rig.idle()


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_in_mid_stream(rig: Rig, beast: FakeNeuron, path: str) -> None:
    beast.hold("alpha")
    async with asyncio.timeout(20), rig.open(path, body_for(path, stream=True)) as response:
        async for chunk in response.chunks():
            if b"capital" in chunk:
                break
    await soon(beast.until(lambda: beast.cancelled == 1))
    await rig.idle()
    assert await rig.metric("cortex_requests_total", outcome="client_gone") == 1
    assert await rig.metric("cortex_completion_tokens_total", model="alpha") == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_while_the_model_loads_the_request_is_never_sent(stream: bool) -> None:
    beast = FakeNeuron("beast")
    beast.load_gate.clear()
    async with running(beast) as rig:
        asking = asyncio.create_task(rig.post(CHAT, chat(stream=stream)))
        await soon(beast.until(lambda: beast.loads))
        asking.cancel()
        await asyncio.wait([asking])
        await rig.until(lambda: rig.gateway.server.in_flight == 0)
        beast.load_gate.set()
        await rig.sees_loaded("beast", "alpha")
        assert beast.bodies == []
        assert rig.gateway.metrics.registry.get_sample_value("cortex_requests_waiting") == 0
