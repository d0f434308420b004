"""`/v1/messages` on the host itself: answers, streams, counts and errors in Anthropic's words."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cortex.dialects.sse import SseParser
from tests.neuron.rig import Answer, Rig, running

pytestmark = pytest.mark.anyio
TEXT = "The capital of France is Paris."


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as rig:
        assert (await rig.load()).status == 200
        rig.engine().asked.clear()
        yield rig


async def ask(rig: Rig, path: str = "/v1/messages", **fields: Any) -> Answer:
    body = {"model": "alpha", "max_tokens": 16, "messages": [{"role": "user", "content": "capital?"}], **fields}
    return await rig.ask("POST", path, body)


async def test_a_message_is_answered_whole(rig: Rig) -> None:
    answer = await ask(rig, system="be brief", stop_sequences=["!"])
    assert answer.status == 200
    assert answer.json["content"] == [{"type": "text", "text": TEXT}]
    assert answer.json["stop_reason"] == "end_turn"
    assert answer.json["usage"]["output_tokens"] == 3
    assert rig.engine().rendered[-1]["messages"][0] == {"role": "system", "content": "be brief"}
    assert rig.engine().asked[0].stop == ("!",)


async def test_a_streamed_message_has_its_events_and_pings_in_silence(rig: Rig) -> None:
    rig.engine().script.gate_at = 1
    body = {"model": "alpha", "max_tokens": 16, "stream": True, "messages": [{"role": "user", "content": "capital?"}]}
    kinds: list[str] = []
    text = ""
    async with rig.client.open("POST", rig.neuron.url + "/v1/messages", body=msgspec.json.encode(body)) as response:
        parser = SseParser()
        async for chunk in response.chunks():
            for event in parser.feed(chunk):
                data = msgspec.json.decode(event.data)
                kinds.append(data["type"])
                text += data.get("delta", {}).get("text", "")
            if "ping" in kinds:
                rig.engine().script.gate.set()
    assert text == TEXT
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]


async def test_a_failed_tool_says_so_in_its_result(rig: Rig) -> None:
    turns = [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {"at": 1}}]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "no such place", "is_error": True}],
        },
    ]
    assert (await ask(rig, messages=turns)).status == 200
    rendered = rig.engine().rendered[-1]["messages"]
    assert rendered[1]["tool_calls"][0]["function"] == {"name": "look", "arguments": {"at": 1}}
    assert (rendered[2]["role"], rendered[2]["content"]) == ("tool", "Error: no such place")


async def test_tokens_are_counted_as_the_answer_counts_them(rig: Rig) -> None:
    counted = await ask(rig, "/v1/messages/count_tokens")
    usage = (await ask(rig)).json["usage"]
    assert counted.json["input_tokens"] == usage["input_tokens"] + usage["cache_read_input_tokens"]


@pytest.mark.parametrize(
    ("fields", "status", "kind", "words"),
    [
        ({"model": "alp"}, 404, "not_found_error", "alpha"),
        ({"max_tokens": None}, 400, "invalid_request_error", "max_tokens"),
        ({"no_such": 1}, 400, "invalid_request_error", "no_such"),
        (
            {"messages": [{"role": "user", "content": "x" * 5000}]},
            400,
            "invalid_request_error",
            "prompt is too long: 5006 tokens > 4095 maximum",
        ),
    ],
)
async def test_errors_are_in_this_dialect(rig: Rig, fields: dict[str, Any], status: int, kind: str, words: str) -> None:
    answer = await ask(rig, **fields)
    assert answer.status == status
    assert answer.json["type"] == "error"
    assert answer.error["type"] == kind
    assert words in answer.error["message"]


async def test_an_error_in_a_stream_names_the_request(rig: Rig) -> None:
    rig.engine().script.fail_at = 1
    body = {"model": "alpha", "max_tokens": 16, "stream": True, "messages": [{"role": "user", "content": "capital?"}]}
    answer = await rig.ask("POST", "/v1/messages", body, {"x-request-id": "req_mine"})
    assert answer.chunks[-1]["type"] == "error"
    assert answer.chunks[-1]["request_id"] == "req_mine"
