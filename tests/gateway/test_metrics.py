"""What Prometheus reads: requests, tokens, times, rates, errors, cold starts; by model and neuron."""

import pytest

from tests.fakes.neuron import FakeNeuron
from tests.gateway.rig import CHAT, COMPLETIONS, MESSAGES, Rig, body_for, chat, message, running

pytestmark = pytest.mark.anyio
WHO = {"model": "alpha", "neuron": "beast"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("path", "api"), [(CHAT, "chat"), (COMPLETIONS, "completions"), (MESSAGES, "messages")])
async def test_requests_and_tokens_are_counted_in_every_dialect(rig: Rig, path: str, api: str, stream: bool) -> None:
    await rig.post(path, body_for(path, stream=stream))
    await rig.idle()
    assert await rig.metric("cortex_requests_total", **WHO, api=api, outcome="ok") == 1
    assert await rig.metric("cortex_prompt_tokens_total", **WHO) == 7
    assert await rig.metric("cortex_completion_tokens_total", **WHO) == 3
    assert await rig.metric("cortex_cached_prompt_tokens_total", **WHO) == 2
    assert await rig.metric("cortex_request_duration_seconds_count", **WHO, api=api) == 1
    assert await rig.metric("cortex_time_to_first_token_seconds_count", **WHO, start="warm") == stream
    assert await rig.metric("cortex_request_errors_total") == 0
    assert await rig.metric("cortex_cold_starts_total") == 0


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_the_first_token_is_the_first_generated_one_and_the_rate_leaves_it_out(
    rig: Rig, beast: FakeNeuron, path: str
) -> None:
    """Three tokens: the first after the gate (prefill), then two more; the role chunk before it is no token."""
    gate = beast.hold("alpha", gate_at=0)
    async with rig.open(path, body_for(path, stream=True)) as response:
        chunks = response.chunks()
        assert b"Paris" not in await anext(chunks)  # a keep-alive: more than half a second has gone by
        gate.set()
        async for _ in chunks:
            pass
    await rig.idle()
    assert await rig.metric("cortex_time_to_first_token_seconds_sum", **WHO) > 0.5
    if await rig.metric("cortex_tokens_per_second_count", **WHO):
        assert await rig.metric("cortex_tokens_per_second_sum", **WHO) > 2 / 0.5


async def test_a_cold_start_is_counted_apart() -> None:
    async with running(FakeNeuron("beast")) as rig:
        await rig.post(CHAT, chat(stream=True))
        await rig.idle()
        assert await rig.metric("cortex_cold_starts_total", **WHO) == 1
        assert await rig.metric("cortex_time_to_first_token_seconds_count", **WHO, start="cold") == 1
        assert await rig.metric("cortex_model_load_seconds_count", **WHO) == 1


async def test_errors_are_counted_by_what_they_were(rig: Rig, beast: FakeNeuron) -> None:
    beast.script("alpha").cut_at = 1
    await rig.post(CHAT, chat(stream=True))
    await rig.post(MESSAGES, message(temperature="x"))
    await rig.idle()
    assert await rig.metric("cortex_request_errors_total", **WHO, outcome="upstream_lost") == 1
    assert await rig.metric("cortex_request_errors_total", model="unknown", outcome="invalid_value") == 1
    assert await rig.metric("cortex_completion_tokens_total", **WHO) == 1, "what was generated before counts"


async def test_made_up_names_share_one_label(rig: Rig) -> None:
    for number in range(5):
        await rig.post(CHAT, chat(f"made-up-{number}"))
    assert await rig.metric("cortex_requests_total", model="unknown") == 5


async def test_gauges_follow_the_fleet_and_leave_nothing_behind(rig: Rig, beast: FakeNeuron) -> None:
    assert await rig.metric("cortex_neuron_up", neuron="beast") == 1
    assert await rig.metric("cortex_model_loaded", **WHO) == 1
    assert await rig.metric("cortex_device_free_bytes", neuron="beast", device="0") == 60 << 20
    await beast.die()
    await rig.sees(lambda fleet: fleet.hosts["beast"].reach == "down")
    assert await rig.metric("cortex_neuron_up", neuron="beast") == 0


async def test_the_metrics_port_has_nothing_else(rig: Rig) -> None:
    async with rig.client.open("GET", rig.gateway.metrics_server.url + "/v1/models") as response:
        assert response.status == 404
    answer = await rig.ask("GET", "/metrics")
    assert answer.status == 404
