"""`/v1/messages` by translation, whole and streamed, and the counting of tokens."""

import msgspec
import pytest

from cortex.dialects.sse import SseParser
from tests.fakes.neuron import FakeNeuron
from tests.gateway.rig import MESSAGES, TEXT, Rig, message, running

pytestmark = pytest.mark.anyio
COUNT = f"{MESSAGES}/count_tokens"


async def test_a_whole_message(rig: Rig) -> None:
    answer = await rig.post(f"{MESSAGES}?beta=true", message("claude-3-5-haiku-latest"))
    body = answer.json
    assert answer.status == 200
    assert body["content"] == [{"type": "text", "text": TEXT}]
    assert (body["type"], body["role"], body["model"]) == ("message", "assistant", "claude-3-5-haiku-latest")
    assert body["stop_reason"] == "end_turn"
    assert body["usage"] == {
        "input_tokens": 5,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 2,
        "output_tokens": 3,
    }


async def test_the_host_is_asked_as_a_chat_completion(rig: Rig, beast: FakeNeuron) -> None:
    tool = {"name": "add", "description": "Adds.", "input_schema": {"type": "object", "properties": {}}}
    await rig.post(MESSAGES, message(system="Be brief.", stop_sequences=["END"], tools=[tool], temperature=0.5))
    asked = msgspec.json.decode(beast.bodies[0])
    assert asked["model"] == "alpha"
    assert asked["messages"][0] == {"role": "system", "content": "Be brief."}
    assert asked["stop"] == ["END"]
    assert asked["temperature"] == 0.5
    assert asked["tools"][0]["function"]["name"] == "add"


async def test_a_stream_has_the_events_in_order_and_the_real_prompt_size(rig: Rig) -> None:
    answer = await rig.post(MESSAGES, message(stream=True))
    assert answer.headers["content-type"] == "text/event-stream"
    events = SseParser().feed(answer.body)
    told = [msgspec.json.decode(event.data) for event in events]
    assert [event.event for event in events] == [data["type"] for data in told]
    assert [data["type"] for data in told] == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 3,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert told[0]["message"]["usage"]["input_tokens"] == 7
    assert "".join(data["delta"]["text"] for data in told if data["type"] == "content_block_delta") == TEXT
    assert told[-2]["delta"]["stop_reason"] == "end_turn"
    assert told[-2]["usage"]["output_tokens"] == 3


async def test_what_has_no_meaning_here_is_named(rig: Rig) -> None:
    answer = await rig.post(MESSAGES, message(metadata={"user_id": "u"}, service_tier="auto"))
    assert answer.headers["x-cortex-ignored"] == "metadata, service_tier"


async def test_tokens_are_counted_by_a_host_that_has_the_model(rig: Rig, beast: FakeNeuron) -> None:
    tool = {"name": "add", "input_schema": {"type": "object"}}
    answer = await rig.post(COUNT, {"model": "alpha", "messages": message()["messages"], "tools": [tool]})
    assert answer.json == {"input_tokens": 111}
    assert "x-cortex-estimate" not in answer.headers
    assert msgspec.json.decode(beast.bodies[0])["messages"][0]["role"] == "user"


async def test_counting_never_loads_a_model_and_says_that_it_guessed(rig: Rig, beast: FakeNeuron) -> None:
    answer = await rig.post(COUNT, {"model": "beta", "messages": [{"role": "user", "content": "x" * 400}]})
    assert answer.headers["x-cortex-estimate"] == "true"
    assert 100 <= answer.json["input_tokens"] <= 120
    assert beast.loads == []


async def test_counting_goes_on_when_the_host_has_just_died(beast: FakeNeuron) -> None:
    async with running(beast, poll_secs=60.0) as rig:
        await rig.sees_loaded("beast", "alpha")
        beast.deaf = True
        answer = await rig.post(COUNT, {"model": "alpha", "messages": message()["messages"]})
        assert answer.status == 200
        assert answer.headers["x-cortex-estimate"] == "true"


async def test_tokens_come_from_a_host_that_has_the_model_under_its_own_name(rig: Rig, beast: FakeNeuron) -> None:
    answer = await rig.post("/tokenize", {"model": "small", "messages": message()["messages"]})
    assert answer.json == {"count": 11}
    assert msgspec.json.decode(beast.bodies[0])["model"] == "alpha"
    unknown = await rig.post("/tokenize", {"model": "alhpa", "prompt": "x"})
    assert (unknown.status, unknown.error["code"]) == (404, "model_not_found")
    cold = await rig.post("/detokenize", {"model": "beta", "tokens": [1]})
    assert (cold.status, cold.error["code"]) == (503, "service_unavailable")
    assert beast.loads == []
