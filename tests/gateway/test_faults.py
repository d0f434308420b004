"""Hosts that are not there, refuse, break, die in mid-stream, or talk nonsense."""

import asyncio

import msgspec
import pytest

from cortex.dialects.sse import SseParser
from cortex.errors import ContextLengthExceeded, EngineFailed, QueueFull, ShuttingDown
from cortex.fleet.state import Reach
from tests.fakes.neuron import FakeNeuron
from tests.gateway.rig import CHAT, COMPLETIONS, MESSAGES, TEXT, Rig, body_for, chat, message, running, soon

pytestmark = pytest.mark.anyio


async def two_hosts() -> tuple[FakeNeuron, FakeNeuron]:
    """Two that have `alpha`; the gateway takes the first while both are idle."""
    first, second = FakeNeuron("aaa"), FakeNeuron("bbb")
    first.put("alpha")
    second.put("alpha")
    return first, second


def last_event(body: bytes) -> tuple[str | None, dict[str, object]]:
    event = SseParser().feed(body)[-1]
    return event.event, msgspec.json.decode(event.data)


async def broken_stream(rig: Rig, path: str, neuron: FakeNeuron) -> bytes:
    """All that a client gets of a stream whose host dies after the first piece."""
    neuron.hold("alpha")
    seen = b""
    async with asyncio.timeout(20), rig.open(path, body_for(path, stream=True)) as response:
        async for chunk in response.chunks():
            seen += chunk
            if b"capital" in seen and neuron.running:
                await neuron.die()
    return seen


async def test_a_death_in_mid_stream_is_an_error_event_and_no_end_mark(rig: Rig, beast: FakeNeuron) -> None:
    seen = await broken_stream(rig, CHAT, beast)
    kind, data = last_event(seen)
    assert kind is None
    assert data["error"]["code"] == "upstream_lost"  # type: ignore[index]
    assert b"[DONE]" not in seen
    await rig.idle()
    assert await rig.metric("cortex_request_errors_total", neuron="beast", outcome="upstream_lost") == 1


async def test_a_death_in_mid_stream_in_anthropics_words(rig: Rig, beast: FakeNeuron) -> None:
    seen = await broken_stream(rig, MESSAGES, beast)
    kind, data = last_event(seen)
    assert (kind, data["type"]) == ("error", "error")
    assert data["error"]["type"] == "api_error"  # type: ignore[index]
    assert b"message_stop" not in seen


async def test_after_a_death_the_next_request_goes_elsewhere() -> None:
    first, second = await two_hosts()
    async with running(first, second) as rig:
        await rig.sees_loaded("bbb", "alpha")
        await rig.sees_loaded("aaa", "alpha")
        assert b"upstream_lost" in await broken_stream(rig, CHAT, first)
        answer = await rig.post(CHAT, chat())
        assert (answer.status, answer.headers["x-cortex-neuron"]) == (200, "bbb")


async def test_after_the_death_of_the_only_host_the_next_request_is_told_when_to_come_again(
    rig: Rig, beast: FakeNeuron
) -> None:
    await beast.die()
    answer = await rig.post(CHAT, chat())
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert "beast is down" in answer.error["message"]
    translated = await rig.post(MESSAGES, message())
    assert (translated.status, translated.error["type"]) == (529, "overloaded_error")
    assert int(translated.headers["retry-after"]) >= 1


async def test_a_model_whose_only_large_enough_host_went_away_is_unavailable_and_not_impossible(
    beast: FakeNeuron,
) -> None:
    small = FakeNeuron("small", memory_mb=10)
    async with running(beast, small, poll_secs=60.0) as rig:
        await rig.sees_loaded("beast", "alpha")
        await beast.die()
        answer = await rig.post(CHAT, chat())
        assert (answer.status, answer.error["code"]) == (503, "service_unavailable")
        assert answer.error["message"] == "No host can serve now: beast is down."


async def test_a_host_that_comes_back_is_used_again(rig: Rig, beast: FakeNeuron) -> None:
    await beast.die()
    await rig.sees(lambda fleet: fleet.hosts["beast"].reach is Reach.DOWN)
    await beast.start()
    await rig.sees(lambda fleet: fleet.hosts["beast"].reach is Reach.UP)
    assert (await rig.post(CHAT, chat())).json["choices"][0]["message"]["content"] == TEXT
    assert len(beast.loads) == 1


async def test_a_host_that_is_not_there_at_the_start() -> None:
    ghost = FakeNeuron("ghost")
    await ghost.start()
    await ghost.die()
    async with running(ghost) as rig:
        answer = await rig.post(CHAT, chat())
        assert (answer.status, answer.error["code"]) == (503, "service_unavailable")
        assert "retry-after" in answer.headers
        streamed = await rig.post(CHAT, chat(stream=True))
        assert streamed.status == 503
        assert (await rig.ask("GET", "/health")).json["status"] == "degraded"
        await ghost.start()
        await rig.sees(lambda fleet: fleet.hosts["ghost"].reach is Reach.UP)
        assert (await rig.post(CHAT, chat())).status == 200


async def test_a_name_that_only_an_unmet_host_knows_is_waited_for() -> None:
    beast = FakeNeuron("beast")
    beast.put("local-model")
    gateway_first = FakeNeuron("slow")
    async with running(beast, gateway_first) as rig:
        await rig.sees_loaded("beast", "local-model")
        assert (await rig.post(CHAT, chat("local-model"))).status == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["queue", "engine", "drain", "cut", "gone"])
async def test_a_failure_before_the_first_byte_goes_to_another_host(fault: str, stream: bool) -> None:
    first, second = await two_hosts()
    async with running(first, second, poll_secs=60.0) as rig:
        await rig.sees_loaded("aaa", "alpha")
        await rig.sees_loaded("bbb", "alpha")
        script = first.script("alpha")
        refusals = {"queue": QueueFull("full"), "engine": EngineFailed("x"), "drain": ShuttingDown("bye")}
        script.refuse = refusals.get(fault)
        if fault == "cut":
            script.gate_headers, script.cut_at = True, 0
        if fault == "gone":
            await first.die()
        answer = await rig.post(CHAT, chat(stream=stream))
        assert answer.status == 200
        assert answer.headers["x-cortex-neuron"] == "bbb"
        assert b"Paris" in answer.body
        assert b"error" not in answer.body


async def test_a_full_host_is_told_as_full_and_no_second_copy_is_loaded(beast: FakeNeuron) -> None:
    other = FakeNeuron("other")
    beast.script("alpha").refuse = QueueFull("full", retry_after=7, extras={"waiting": 9, "limit": 9})
    async with running(beast, other) as rig:
        await rig.sees_loaded("beast", "alpha")
        answer = await rig.post(CHAT, chat())
        assert answer.status == 503
        assert answer.headers["retry-after"] == "7"
        assert (answer.error["code"], answer.error["waiting"]) == ("rate_limit_exceeded", 9)
        assert other.loads == []


@pytest.mark.parametrize("stream", [False, True])
async def test_too_long_a_prompt_is_told_with_both_numbers(rig: Rig, beast: FakeNeuron, stream: bool) -> None:
    error = ContextLengthExceeded("9000 tokens are over 4096", extras={"prompt_tokens": 9000, "limit": 4096})
    beast.script("alpha").refuse = error
    answer = await rig.post(CHAT, chat(stream=stream))
    assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
    assert (answer.error["prompt_tokens"], answer.error["limit"]) == (9000, 4096)
    translated = await rig.post(MESSAGES, message(stream=stream))
    assert translated.status == 400
    assert translated.error["message"] == "prompt is too long: 9000 tokens > 4096 maximum"
    assert beast.bodies[1:] == beast.bodies[1:2], "a fault of the caller's is not tried twice"


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_the_hosts_own_words_never_reach_a_client(rig: Rig, beast: FakeNeuron, path: str) -> None:
    beast.script("alpha").fail_at = 1
    gate = beast.hold("alpha")
    seen = b""
    async with rig.open(path, body_for(path, stream=True)) as response:
        async for chunk in response.chunks():
            seen += chunk
            if b"capital" in seen:
                gate.set()
    assert b"secret" not in seen
    assert "error" in last_event(seen)[1]


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_a_failure_that_comes_before_anything_was_passed_on_is_a_clean_status(
    rig: Rig, beast: FakeNeuron, path: str
) -> None:
    beast.script("alpha").fail_at = 0
    answer = await rig.post(path, body_for(path, stream=True))
    assert answer.status == (502 if path == CHAT else 500)
    assert b"secret" not in answer.body


async def test_a_text_completion_that_breaks_ends_with_an_error_event(rig: Rig, beast: FakeNeuron) -> None:
    beast.script("alpha").cut_at = 2
    answer = await rig.post(COMPLETIONS, {"model": "alpha", "prompt": "The", "stream": True})
    assert b"capital" in answer.body
    _, data = last_event(answer.body)
    assert data["error"]["code"] == "upstream_lost"  # type: ignore[index]


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_a_silent_host_is_given_up_after_the_idle_time(beast: FakeNeuron, path: str) -> None:
    beast.hold("alpha")
    async with running(beast, idle_timeout_secs=0.3) as rig:
        await rig.sees_loaded("beast", "alpha")
        answer = await rig.post(path, body_for(path, stream=True))
        assert b"capital" in answer.body
        assert "error" in last_event(answer.body)[1]
        await soon(beast.until(lambda: beast.cancelled == 1))


async def test_a_host_that_speaks_another_protocol_is_a_bad_gateway(rig: Rig, beast: FakeNeuron) -> None:
    beast.script("alpha").nonsense = b"<html>hello</html>"
    answer = await rig.post(CHAT, chat())
    assert (answer.status, answer.error["code"]) == (502, "upstream_malformed_response")
    assert "html" not in answer.error["message"]
    streamed = await rig.post(CHAT, chat(stream=True))
    assert streamed.status == 502
    translated = await rig.post(MESSAGES, message())
    assert (translated.status, translated.error["type"]) == (500, "api_error")
