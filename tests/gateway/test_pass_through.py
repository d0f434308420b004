"""Same dialect on both sides: chat and text completions, whole and streamed, byte for byte."""

import re

import msgspec
import pytest

from cortex.dialects.sse import SseParser
from tests.fakes.neuron import FakeNeuron
from tests.gateway.rig import CHAT, COMPLETIONS, TEXT, Rig, chat

pytestmark = pytest.mark.anyio


async def direct(rig: Rig, beast: FakeNeuron, path: str, body: bytes) -> bytes:
    """What the host itself answers."""
    async with rig.client.open("POST", beast.endpoint + path, body=body) as response:
        return await response.read(1 << 20)


@pytest.mark.parametrize("stream", [False, True])
async def test_body_and_answer_pass_untouched(rig: Rig, beast: FakeNeuron, stream: bool) -> None:
    options = b',\n "stream": true, "stream_options": {"include_usage": true}' if stream else b""
    body = (
        b'{ "messages" : [{"role":"user","content":"gr\xc3\xbc\xc3\x9fe \\u00fc"}],"model":"alpha","seed": 7' + options
    )
    answer = await rig.post(CHAT, body + b"}\n")
    assert answer.status == 200
    assert beast.bodies == [body + b"}\n"]
    assert answer.body == await direct(rig, beast, CHAT, body + b"}\n")


async def test_only_the_name_of_the_model_is_replaced_for_an_alias(rig: Rig, beast: FakeNeuron) -> None:
    body = b'{"temperature": 0.0, "model" : "small", "messages":[{"role":"user","content":"small"}]}'
    answer = await rig.post(CHAT, body)
    assert answer.json["choices"][0]["message"]["content"] == TEXT
    assert beast.bodies == [body.replace(b' : "small"', b' : "alpha"')]


async def test_usage_is_metered_but_not_shown_to_a_client_that_did_not_ask(rig: Rig, beast: FakeNeuron) -> None:
    answer = await rig.post(CHAT, chat(stream=True))
    events = [event.data for event in SseParser().feed(answer.body)]
    assert events[-1] == b"[DONE]"
    chunks = [msgspec.json.decode(event) for event in events[:-1]]
    assert all(len(chunk["choices"]) == 1 for chunk in chunks)
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == TEXT
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert msgspec.json.decode(beast.bodies[0])["stream_options"] == {"include_usage": True}
    await rig.idle()
    assert await rig.metric("cortex_completion_tokens_total", model="alpha", neuron="beast") == 3


async def test_a_stream_goes_out_piece_by_piece(rig: Rig, beast: FakeNeuron) -> None:
    gate = beast.hold("alpha")
    async with rig.open(CHAT, chat(stream=True)) as response:
        assert response.status == 200
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers["x-accel-buffering"] == "no"
        assert response.headers["x-cortex-neuron"] == "beast"
        seen = b""
        async for chunk in response.chunks():
            seen += chunk
            if b"capital" in seen and not gate.is_set():
                assert b"Paris" not in seen
                gate.set()
    assert b"Paris" in seen
    assert seen.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
async def test_text_completions_pass(rig: Rig, stream: bool) -> None:
    answer = await rig.post(COMPLETIONS, {"model": "alpha", "prompt": "The", "stream": stream})
    assert answer.status == 200
    assert "".join(re.findall(r'"text":"([^"]*)"', answer.body.decode())) == TEXT
    assert answer.body.endswith(b"data: [DONE]\n\n") == stream


async def test_the_request_id_is_the_clients_and_reaches_the_host(rig: Rig, beast: FakeNeuron) -> None:
    answer = await rig.post(CHAT, chat(), {"x-request-id": "mine-1", "authorization": "Bearer sk-secret"})
    assert answer.headers["x-request-id"] == "mine-1"
    assert beast.headers[0]["x-request-id"] == "mine-1"
    assert "authorization" not in beast.headers[0]
