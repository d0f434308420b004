"""Responses answers, whole and streamed: the order of events, items, calls under their own names, endings."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cortex.dialects.answer import Answer
from cortex.dialects.logprobs import TokenLogprob
from cortex.dialects.neutral import ChatEvent, Ended, Failed, ReasoningDelta, TextDelta, ToolCallDelta
from cortex.dialects.openai_chat import StreamDecoder
from cortex.dialects.openai_responses import (
    ResponsesRequest,
    StreamEncoder,
    encode_response,
    parse_request,
    read_request,
)
from cortex.dialects.openai_responses.seal import unseal
from cortex.errors import ContextLengthExceeded, CortexError, InvalidField, QueueFull, UpstreamLost
from cortex.types import FinishReason, Usage
from tests.unit.dialects.generated import streamed
from tests.unit.dialects.wire import OWN, payloads, rules_of

USAGE = Usage(prompt_tokens=9, completion_tokens=3, cached_tokens=4, reasoning_tokens=1)
STOP = Ended(FinishReason.STOP, USAGE)


def asked(**fields: Any) -> ResponsesRequest:
    body = {"model": "m", "input": "hi", "stream": True, **fields}
    return read_request(parse_request(json.dumps(body).encode()), signing_key=b"key")


def stream_of(*events: ChatEvent, **fields: Any) -> bytes:
    coder = StreamEncoder(asked(**fields), id="resp_1", created=7, signing_key=b"key")
    return b"".join(map(coder.event, events))


def whole(*events: ChatEvent, **fields: Any) -> Any:
    return json.loads(encode_response(events, asked(**fields), id="resp_1", created=7, signing_key=b"key"))


def kinds(stream: bytes) -> list[str]:
    return [event["type"].removeprefix("response.") for event in payloads(stream)]


def test_the_order_of_a_text_answer() -> None:
    stream = stream_of(TextDelta("R"), TextDelta("øros"), STOP)
    assert kinds(stream) == [
        *("created", "in_progress", "output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.delta", "output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    assert [event["sequence_number"] for event in payloads(stream)] == list(range(10))
    last = payloads(stream)[-1]["response"]
    assert (last["id"], last["status"], last["model"], last["created_at"]) == ("resp_1", "completed", "m", 7)
    assert last["output"][0]["content"] == [{"type": "output_text", "text": "Røros", "annotations": [], "logprobs": []}]
    assert last["usage"] == {
        **{"input_tokens": 9, "output_tokens": 3, "total_tokens": 12},
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 1},
    }
    assert stream.startswith(b"event: response.created\ndata: ")


@settings(deadline=None, max_examples=150)
@given(streamed(), st.booleans())
def test_every_stream_keeps_the_rules_and_says_what_the_whole_answer_says(
    case: tuple[Answer, list[ChatEvent]], summarise: bool
) -> None:
    _, events = case
    fields: dict[str, Any] = {"include": ["reasoning.encrypted_content"], "metadata": {"team": "blue"}}
    if summarise:
        fields["reasoning"] = {"summary": "auto"}
    stream = stream_of(*events, **fields)
    assert rules_of("openai_responses")(stream) == []
    assert payloads(stream)[-1]["response"] == whole(*events, **fields)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_recorded_host_stream_gives_the_same_at_any_split(size: int) -> None:
    recorded = (OWN / "streams" / "host_tools.sse").read_bytes()

    def translated(parts: Iterable[bytes]) -> bytes:
        decoder, coder = StreamDecoder(), StreamEncoder(asked(), id="resp_1", created=7)
        return b"".join(coder.event(event) for part in parts for event in decoder.feed(part))

    stream = translated(recorded[at : at + size] for at in range(0, len(recorded), size))
    assert stream == translated([recorded])
    assert rules_of("openai_responses")(stream) == []
    assert [item["type"] for item in payloads(stream)[-1]["response"]["output"]] == [
        *("reasoning", "message", "function_call", "function_call"),
    ]


def test_thinking_is_text_or_the_summary_that_was_asked_for() -> None:
    events = (ReasoningDelta("Two "), ReasoningDelta("places."), TextDelta("x"), STOP)
    plain = whole(*events)["output"][0]
    assert (plain["content"], plain["summary"]) == ([{"type": "reasoning_text", "text": "Two places."}], [])
    assert "encrypted_content" not in plain
    told = whole(*events, reasoning={"summary": "auto"}, include=["reasoning.encrypted_content"])["output"][0]
    assert told["summary"] == [{"type": "summary_text", "text": "Two places."}]
    assert unseal(told["encrypted_content"], "m", b"key") == "Two places."
    assert "reasoning_text.delta" in kinds(stream_of(*events))
    assert "reasoning_summary_text.delta" in kinds(stream_of(*events, reasoning={"summary": "auto"}))


def test_calls_go_back_under_the_clients_own_names() -> None:
    tools = [
        {"type": "namespace", "name": "ns", "tools": [{"type": "function", "name": "f"}]},
        {"type": "custom", "name": "patch"},
    ]
    events = (
        ToolCallDelta(0, "a", "ns__f"),
        ToolCallDelta(1, "b", "patch", '{"input":'),
        ToolCallDelta(1, arguments='"*** Begin"}'),
        ToolCallDelta(2, "c", "patch", "no json"),
        Ended(FinishReason.TOOL_CALLS, USAGE),
    )
    stream = stream_of(*events, tools=tools)
    assert rules_of("openai_responses")(stream) == []
    output = payloads(stream)[-1]["response"]["output"]
    assert output == whole(*events, tools=tools)["output"]
    assert (output[0]["name"], output[0]["namespace"], output[0]["arguments"]) == ("f", "ns", "{}")
    assert [(item["type"], item["name"], item["input"]) for item in output[1:]] == [
        ("custom_tool_call", "patch", "*** Begin"),
        ("custom_tool_call", "patch", "no json"),
    ]


def test_an_answer_that_was_cut() -> None:
    cut = Ended(FinishReason.LENGTH, USAGE)
    stream = stream_of(TextDelta("one, two"), cut)
    assert rules_of("openai_responses")(stream) == []
    response = payloads(stream)[-1]["response"]
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert response["output"][0]["status"] == "incomplete"
    assert response == whole(TextDelta("one, two"), cut)


def test_a_call_that_was_cut_is_incomplete_and_one_that_had_not_begun_is_none() -> None:
    cut = Ended(FinishReason.LENGTH, USAGE)
    stream = stream_of(ToolCallDelta(0, "a", "f", '{"x":'), cut)
    assert payloads(stream)[-1]["response"]["output"][0]["status"] == "incomplete"
    assert kinds(stream_of(ToolCallDelta(0, "a", "f"), cut)) == ["created", "in_progress", "incomplete"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UpstreamLost("gone"), "server_error"),
        (QueueFull("full"), "rate_limit_exceeded"),
        (ContextLengthExceeded("long"), "context_length_exceeded"),
        (InvalidField("wrong"), "invalid_prompt"),
    ],
)
@pytest.mark.parametrize("before", [[], [TextDelta("x")], [ReasoningDelta("x")], [ToolCallDelta(0, "a", "f", "{")]])
def test_a_failure_ends_the_stream_wherever_it_is(before: list[ChatEvent], error: CortexError, code: str) -> None:
    coder = StreamEncoder(asked(), id="resp_1", created=7)
    stream = coder.keep_alive() + b"".join(map(coder.event, before)) + coder.event(Failed(error))
    assert rules_of("openai_responses")(stream) == []
    last = payloads(stream)[-1]["response"]
    assert (last["status"], last["error"]["code"]) == ("failed", code)
    assert error.message in last["error"]["message"]
    assert coder.final == last
    assert coder.event(TextDelta("y")) == coder.fail(error) == b""


def test_a_cancelled_generation_is_a_failure() -> None:
    assert kinds(stream_of(TextDelta("x"), Ended(FinishReason.CANCELLED)))[-1] == "failed"


def test_pieces_of_two_calls_that_are_mixed_are_the_hosts_fault() -> None:
    begun = (ToolCallDelta(0, "a", "f", '{"x":'), ToolCallDelta(1, "b", "g", "{}"))
    assert kinds(stream_of(*begun, ToolCallDelta(0, arguments="1}")))[-1] == "failed"
    assert kinds(stream_of(*begun, ToolCallDelta(0, arguments="{}"), STOP))[-1] == "completed"


def test_log_probabilities_stand_beside_their_text() -> None:
    one, two, three = (TokenLogprob(token, -0.5, (1,)) for token in "abc")
    events = (TextDelta("", logprobs=(one,)), TextDelta("ab", logprobs=(two,)), TextDelta("", logprobs=(three,)), STOP)
    stream = stream_of(*events, top_logprobs=1)
    assert rules_of("openai_responses")(stream) == []
    told = {event["type"]: event for event in payloads(stream)}
    assert [entry["token"] for entry in told["response.output_text.delta"]["logprobs"]] == ["a", "b"]
    assert [entry["token"] for entry in told["response.output_text.done"]["logprobs"]] == ["a", "b", "c"]
    assert payloads(stream)[-1]["response"] == whole(*events, top_logprobs=1)
    assert whole(*events)["output"][0]["content"][0]["logprobs"][0] == {
        **{"token": "a", "logprob": -0.5, "bytes": [1], "top_logprobs": []}
    }


def test_thinking_may_come_again_after_text() -> None:
    events = (ReasoningDelta("a"), TextDelta("b"), ReasoningDelta("c"), TextDelta("d"), STOP)
    stream = stream_of(*events)
    assert rules_of("openai_responses")(stream) == []
    output = payloads(stream)[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["reasoning", "message"] * 2
    assert len({item["id"] for item in output}) == 4


def test_the_answer_repeats_the_request() -> None:
    fields: dict[str, Any] = {
        "instructions": "Be brief.",
        "metadata": {"a": "b"},
        "tools": [{"type": "function", "name": "f", "parameters": {}}, {"type": "web_search"}],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_object"}},
        "temperature": 0.5,
        "max_output_tokens": 5,
        "parallel_tool_calls": False,
    }
    assert fields.items() <= whole(STOP, **fields).items()
