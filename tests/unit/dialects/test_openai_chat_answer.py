"""Chat answers, whole and streamed: what we emit keeps the rules, and what hosts send is understood or refused."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cortex.dialects.answer import Answer, collect, events_of
from cortex.dialects.neutral import ChatEvent, Ended, Failed, ReasoningDelta, TextDelta, ToolCallDelta
from cortex.dialects.openai_chat import StreamDecoder, StreamEncoder, decode_response, encode_response
from cortex.errors import (
    ContextLengthExceeded,
    CortexError,
    EngineFailed,
    ShuttingDown,
    UpstreamError,
    UpstreamLost,
    UpstreamMalformed,
)
from cortex.types import FinishReason, Usage
from tests.unit.dialects.generated import answers, streamed
from tests.unit.dialects.wire import OWN, payloads, rules_of

USAGE = Usage(prompt_tokens=9, completion_tokens=3, cached_tokens=4, reasoning_tokens=1)


def encoder(**more: Any) -> StreamEncoder:
    return StreamEncoder(id="chatcmpl-1", model="m", created=1_760_000_000, **more)


def stream_of(*events: ChatEvent, **more: Any) -> bytes:
    coder = encoder(**more)
    return coder.start() + b"".join(map(coder.event, events))


def decoded(*chunks: bytes) -> list[ChatEvent]:
    decoder = StreamDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.close()


def test_a_text_answer_in_chunks() -> None:
    stream = stream_of(TextDelta('Røros "x"'), TextDelta(""), Ended(FinishReason.LENGTH, USAGE))
    role, text, last, done = payloads(stream)
    same = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_760_000_000, "model": "m"}
    empty = {"index": 0, "logprobs": None, "finish_reason": None}
    assert role == {**same, "choices": [{**empty, "delta": {"role": "assistant", "content": ""}}]}
    assert text == {**same, "choices": [{**empty, "delta": {"content": 'Røros "x"'}}]}
    assert last == {**same, "choices": [{**empty, "delta": {}, "finish_reason": "length"}]}
    assert done == "[DONE]"


def test_usage_comes_in_its_own_last_chunk_only_when_asked_for() -> None:
    chunks = payloads(stream_of(TextDelta("x"), Ended(FinishReason.STOP, USAGE), include_usage=True))
    assert [chunk["usage"] for chunk in chunks[:-2]] == [None, None, None]
    assert chunks[-2]["choices"] == []
    assert chunks[-2]["usage"] == {
        **{"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
        **{"prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 1}},
    }
    assert b'"usage"' not in stream_of(TextDelta("x"), Ended(FinishReason.STOP, USAGE))


def test_the_role_comes_first_even_without_a_call_of_start() -> None:
    coder = encoder()
    first = payloads(coder.event(TextDelta("x")))
    assert first[0]["choices"][0]["delta"]["role"] == "assistant"
    assert coder.start() == b""


def test_nothing_follows_the_end() -> None:
    coder = encoder()
    coder.event(Ended(FinishReason.STOP))
    assert coder.event(TextDelta("late")) == coder.event(Ended(FinishReason.STOP)) == b""


def test_a_matched_stop_string_survives_the_wire() -> None:
    stream = stream_of(TextDelta("a"), Ended(FinishReason.STOP_SEQUENCE, USAGE, "END"), include_usage=True)
    assert payloads(stream)[-3]["choices"][0]["finish_reason"] == "stop"
    assert decoded(stream)[-1] == Ended(FinishReason.STOP_SEQUENCE, USAGE, "END")


def test_a_call_without_arguments_gets_the_empty_object_unless_it_was_cut() -> None:
    called = ToolCallDelta(0, "call_1", "f")
    whole = payloads(stream_of(called, Ended(FinishReason.STOP)))
    assert whole[2]["choices"][0]["delta"]["tool_calls"] == [{"index": 0, "function": {"arguments": "{}"}}]
    assert whole[3]["choices"][0]["finish_reason"] == "tool_calls"
    cut = payloads(stream_of(called, Ended(FinishReason.LENGTH)))
    assert [chunk["choices"][0]["finish_reason"] for chunk in cut[:-1]] == [None, None, "length"]


@pytest.mark.parametrize("event", [Failed(EngineFailed("The engine stopped.")), Ended(FinishReason.CANCELLED)])
def test_a_failure_is_an_error_event_without_done(event: ChatEvent) -> None:
    stream = stream_of(TextDelta("x"), event)
    assert payloads(stream)[-1]["error"]["code"] == "engine_failed"
    assert b"[DONE]" not in stream
    assert rules_of("openai_chat")(stream) == []


@settings(deadline=None, max_examples=150)
@given(streamed(), st.booleans())
def test_every_stream_keeps_the_rules(case: tuple[Answer, list[ChatEvent]], include_usage: bool) -> None:
    stream = stream_of(*case[1], include_usage=include_usage)
    assert rules_of("openai_chat")(stream, {"stream_options": {"include_usage": include_usage}}) == []


@settings(deadline=None, max_examples=150)
@given(streamed(), st.data())
def test_what_is_streamed_is_understood_however_the_bytes_are_split(
    case: tuple[Answer, list[ChatEvent]], data: st.DataObject
) -> None:
    stream = stream_of(*case[1], include_usage=True)
    places = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=6)) | {0, len(stream)})
    events = decoded(*(stream[start:end] for start, end in pairwise(places)))
    assert collect(events) == case[0]


@settings(deadline=None, max_examples=100)
@given(answers())
def test_a_whole_answer_is_understood(answer: Answer) -> None:
    body = encode_response(events_of(answer), id="c", model="m", created=5)
    assert collect(decode_response(body)) == answer


def test_a_whole_answer_with_calls() -> None:
    events = [
        ReasoningDelta("hm"),
        ToolCallDelta(1, "b", "g", "{}"),
        ToolCallDelta(0, "a", "f", '{"x"'),
        ToolCallDelta(0, arguments=":1}"),
        Ended(FinishReason.TOOL_CALLS, USAGE),
    ]
    body = json.loads(encode_response(events, id="c", model="m", created=5))
    choice = body["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["reasoning"] == choice["message"]["reasoning_content"] == "hm"
    assert [call["function"] for call in choice["message"]["tool_calls"]] == [
        {"name": "f", "arguments": '{"x":1}'},
        {"name": "g", "arguments": "{}"},
    ]


@pytest.mark.parametrize(
    ("events", "error"),
    [
        ([TextDelta("x"), Failed(ShuttingDown("bye"))], ShuttingDown),
        ([TextDelta("x"), Ended(FinishReason.CANCELLED)], EngineFailed),
        ([TextDelta("x")], UpstreamLost),
    ],
)
def test_a_whole_answer_cannot_be_made_of_a_broken_one(events: list[ChatEvent], error: type[CortexError]) -> None:
    with pytest.raises(error):
        encode_response(events, id="c", model="m", created=5)


def test_a_recorded_host_stream() -> None:
    stream = (OWN / "streams" / "host_tools.sse").read_bytes()
    answer = collect(decoded(stream))
    assert (answer.reasoning, answer.text) == ("Two places.", "Looking at Røros")
    assert [(call.id, call.name, call.arguments) for call in answer.tool_calls] == [
        ("call_a", "get_weather", '{"city":"Røros"}'),
        ("call_b", "get_time", "{}"),
    ]
    assert answer.ended.usage == Usage(prompt_tokens=20, completion_tokens=14, cached_tokens=16)


CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (CHUNK, UpstreamLost),
        (CHUNK + b"data: [DONE]\n\n", UpstreamLost),
        (CHUNK + b"data: {not json}\n\n", UpstreamMalformed),
        (CHUNK + b'data: {"choices":"x"}\n\n', UpstreamMalformed),
        (CHUNK + b'data: {"choices":[{"index":1,"delta":{"content":"b"}}]}\n\n', UpstreamMalformed),
        (CHUNK + b'data: {"error":{"message":"secret","code":"shutting_down"}}\n\n', ShuttingDown),
        (CHUNK + b'data: {"error":{"message":"secret","code":500}}\n\n', UpstreamError),
        (CHUNK + b'data: {"error":"secret"}\n\n', UpstreamError),
    ],
)
def test_a_bad_host_stream_fails_after_what_was_good(stream: bytes, error: type[CortexError]) -> None:
    good, failed = decoded(stream + b"data: ignored\n\n" if error is not UpstreamLost else stream)
    assert good == TextDelta("a")
    assert isinstance(failed, Failed)
    assert type(failed.error) is error
    assert "secret" not in failed.error.message


def test_what_the_host_said_is_noted_for_the_log() -> None:
    failed = decoded(b'data: {"error":{"message":"secret","code":"x"}}\n\n')[0]
    assert isinstance(failed, Failed)
    assert "secret" in failed.error.__notes__[0]


@pytest.mark.parametrize(
    "chunk",
    [b'data: {"id":"x"}\n\n', b'data: {"choices":[]}\n\n', b'data: {"choices":[{"delta":null}]}\n\n', b": ping\n\n"],
)
def test_absent_and_empty_choices_are_tolerated(chunk: bytes) -> None:
    assert decoded(chunk + CHUNK + FINISH + chunk) == [TextDelta("a"), Ended(FinishReason.STOP)]


def test_an_empty_list_of_calls_is_no_call() -> None:
    assert decoded(b'data: {"choices":[{"delta":{"tool_calls":[]}}]}\n\n' + FINISH) == [Ended(FinishReason.STOP)]


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"choices":[]}', b'{"choices":[{"index":0}]}'])
def test_a_body_that_is_no_completion_is_malformed(body: bytes) -> None:
    with pytest.raises(UpstreamMalformed):
        decode_response(body)


def test_a_body_that_holds_an_error_raises_it() -> None:
    body = b'{"error":{"message":"too long","code":"context_length_exceeded","prompt_tokens":9,"limit":8}}'
    with pytest.raises(ContextLengthExceeded) as caught:
        decode_response(body)
    assert caught.value.extras == {"prompt_tokens": 9, "limit": 8}
