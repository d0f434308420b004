"""Anthropic answers, whole and streamed: the order of events, thinking, calls, stop reasons and usage."""

import json
from typing import Any

import pytest
from hypothesis import given, settings

from cortex.dialects import openai_chat
from cortex.dialects.answer import Answer, collect, events_of
from cortex.dialects.anthropic import StreamEncoder, encode_count_tokens, encode_response
from cortex.dialects.anthropic.signature import verify
from cortex.dialects.neutral import ChatEvent, Ended, Failed, ReasoningDelta, TextDelta, ToolCallDelta
from cortex.errors import CortexError, EngineFailed, QueueFull, UpstreamLost, UpstreamMalformed
from cortex.types import FinishReason, Usage
from tests.unit.dialects.generated import answers, streamed
from tests.unit.dialects.wire import OWN, payloads, rules_of

USAGE = Usage(prompt_tokens=9, completion_tokens=3)


def encoder(input_tokens: int = 9, cached_tokens: int = 0) -> StreamEncoder:
    return StreamEncoder(
        id="msg_1", model="m", input_tokens=input_tokens, cached_tokens=cached_tokens, signing_key=b"key"
    )


def stream_of(*events: ChatEvent, coder: StreamEncoder | None = None) -> bytes:
    coder = coder or encoder()
    return coder.start() + b"".join(map(coder.event, events))


def whole(*events: ChatEvent) -> Any:
    return json.loads(encode_response(events, id="msg_1", model="m", signing_key=b"key"))


def folded(stream: bytes) -> list[dict[str, Any]]:
    """The content blocks that a client puts together."""
    blocks: list[dict[str, Any]] = []
    for event in payloads(stream):
        if event["type"] == "content_block_start":
            blocks.append({**event["content_block"], "json": ""})
        elif event["type"] == "content_block_delta":
            delta, block = event["delta"], blocks[event["index"]]
            for name, value in delta.items():
                target = {"partial_json": "json"}.get(name, name)
                if name != "type":
                    block[target] += value
    for block in blocks:
        pieces = block.pop("json")
        if block["type"] == "tool_use":
            block["input"] = json.loads(pieces)
    return blocks


def test_the_order_of_a_text_answer() -> None:
    stream = stream_of(TextDelta("R"), TextDelta("øros"), Ended(FinishReason.STOP, USAGE))
    assert [event["type"] for event in payloads(stream)] == [
        *("message_start", "content_block_start", "content_block_delta", "content_block_delta"),
        *("content_block_stop", "message_delta", "message_stop"),
    ]
    assert payloads(stream)[0]["message"] == {
        **{"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []},
        **{"stop_reason": None, "stop_sequence": None},
        "usage": {
            **{"input_tokens": 9, "output_tokens": 0},
            **{"cache_read_input_tokens": 0, "cache_creation_input_tokens": 0},
        },
    }
    assert b"event: message_stop\ndata: " in stream


@settings(deadline=None, max_examples=150)
@given(streamed())
def test_every_stream_keeps_the_rules_and_says_what_the_whole_answer_says(
    case: tuple[Answer, list[ChatEvent]],
) -> None:
    answer, events = case
    usage = answer.ended.usage
    assert usage is not None
    coder = encoder(usage.prompt_tokens, usage.cached_tokens)
    stream = coder.keep_alive() + stream_of(*events, coder=coder)
    assert rules_of("anthropic_messages")(stream) == []
    message = whole(*events)
    assert folded(stream) == message["content"]
    last = payloads(stream)[-2]
    assert last["usage"] == message["usage"]
    assert last["delta"] == {name: message[name] for name in ("stop_reason", "stop_sequence")}


def test_a_recorded_host_stream_in_anthropics_words() -> None:
    decoder, coder = openai_chat.StreamDecoder(), encoder(20, 16)
    stream = coder.start()
    for byte in (OWN / "streams" / "host_tools.sse").read_bytes():
        stream += b"".join(map(coder.event, decoder.feed(bytes([byte]))))
    assert decoder.close() == []
    assert stream.decode() == (OWN / "streams" / "host_tools.as_messages.sse").read_text(encoding="utf-8")
    assert rules_of("anthropic_messages")(stream) == []


def test_thinking_is_signed_once_and_the_signature_is_ours() -> None:
    events = (ReasoningDelta("Two "), ReasoningDelta("places."), TextDelta("x"), Ended(FinishReason.STOP, USAGE))
    thought = folded(stream_of(*events))[0]
    assert thought == whole(*events)["content"][0]
    assert thought["thinking"] == "Two places."
    assert verify(thought["signature"], "Two places.", "m", b"key")


def test_thinking_may_come_again_after_text() -> None:
    events = (ReasoningDelta("a"), TextDelta("b"), ReasoningDelta("c"), Ended(FinishReason.STOP, USAGE))
    stream = stream_of(*events)
    assert [block["type"] for block in folded(stream)] == ["thinking", "text", "thinking"]
    assert rules_of("anthropic_messages")(stream) == []


@pytest.mark.parametrize(
    ("ended", "reason", "matched"),
    [
        (Ended(FinishReason.STOP), "end_turn", None),
        (Ended(FinishReason.LENGTH), "max_tokens", None),
        (Ended(FinishReason.TOOL_CALLS), "end_turn", None),
        (Ended(FinishReason.STOP_SEQUENCE, None, "END"), "stop_sequence", "END"),
        (Ended(FinishReason.STOP_SEQUENCE), "end_turn", None),
    ],
)
def test_stop_reasons(ended: Ended, reason: str, matched: str | None) -> None:
    expected = {"stop_reason": reason, "stop_sequence": matched}
    assert payloads(stream_of(TextDelta("x"), ended))[-2]["delta"] == expected
    assert expected.items() <= whole(TextDelta("x"), ended).items()


@pytest.mark.parametrize("reason", [FinishReason.STOP, FinishReason.TOOL_CALLS])
def test_an_answer_with_calls_ends_with_tool_use(reason: FinishReason) -> None:
    events = (ToolCallDelta(0, "a", "f", "{}"), Ended(reason, USAGE))
    assert payloads(stream_of(*events))[-2]["delta"]["stop_reason"] == "tool_use"
    assert whole(*events)["stop_reason"] == "tool_use"


def test_a_call_that_was_cut_is_not_completed() -> None:
    events = (TextDelta("x"), ToolCallDelta(0, "a", "f", '{"x":'), Ended(FinishReason.LENGTH, USAGE))
    assert [block["type"] for block in whole(*events)["content"]] == ["text"]
    stream = stream_of(*events)
    assert stream.count(b"input_json_delta") == 1
    assert payloads(stream)[-2]["delta"]["stop_reason"] == "max_tokens"
    assert b"partial_json" not in stream_of(ToolCallDelta(0, "a", "f"), Ended(FinishReason.LENGTH, USAGE))


@pytest.mark.parametrize("arguments", ["{", "[]", "5"])
def test_arguments_that_are_no_object_are_the_hosts_fault(arguments: str) -> None:
    with pytest.raises(UpstreamMalformed, match="'f'"):
        whole(ToolCallDelta(0, "a", "f", arguments), Ended(FinishReason.TOOL_CALLS, USAGE))


def test_the_late_empty_object_of_a_closed_call_is_not_told_twice() -> None:
    calls = (ToolCallDelta(0, "a", "f"), ToolCallDelta(1, "b", "g", "{}"), ToolCallDelta(0, arguments="{}"))
    stream = stream_of(*calls, Ended(FinishReason.TOOL_CALLS, USAGE))
    assert [block["input"] for block in folded(stream)] == [{}, {}]
    assert rules_of("anthropic_messages")(stream) == []


def test_mixed_pieces_of_two_calls_end_the_stream_with_an_error() -> None:
    calls = (ToolCallDelta(0, "a", "f", "{"), ToolCallDelta(1, "b", "g", "{}"), ToolCallDelta(0, arguments="}"))
    stream = stream_of(*calls, Ended(FinishReason.TOOL_CALLS, USAGE))
    assert payloads(stream)[-1]["error"]["type"] == "api_error"


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (Failed(UpstreamLost("The host went away.")), "api_error"),
        (Failed(QueueFull("Full.")), "overloaded_error"),
        (Ended(FinishReason.CANCELLED), "api_error"),
    ],
)
def test_a_failure_is_an_error_event_and_the_end(event: ChatEvent, kind: str) -> None:
    coder = encoder()
    stream = stream_of(TextDelta("x"), event, TextDelta("y"), coder=coder)
    assert payloads(stream)[-1]["error"]["type"] == kind
    assert stream.count(b'"text":"y"') == 0
    assert coder.event(Ended(FinishReason.STOP)) == b""
    assert rules_of("anthropic_messages")(stream) == []


@pytest.mark.parametrize(
    ("announced", "usage", "expected"),
    [
        ((9, 4), Usage(prompt_tokens=9, cached_tokens=4), (5, 4)),
        ((9, 0), Usage(prompt_tokens=9, cached_tokens=4), (9, 0)),  # told too late: input may not fall
        ((1, 0), Usage(prompt_tokens=9, cached_tokens=4), (5, 4)),
        ((9, 4), None, (5, 4)),
    ],
)
def test_input_never_falls_and_leaves_out_what_was_cached(
    announced: tuple[int, int], usage: Usage | None, expected: tuple[int, int]
) -> None:
    stream = stream_of(TextDelta("x"), Ended(FinishReason.STOP, usage), coder=encoder(*announced))
    told = payloads(stream)[-2]["usage"]
    assert (told["input_tokens"], told["cache_read_input_tokens"]) == expected


def test_without_usage_the_pieces_are_counted() -> None:
    stream = stream_of(TextDelta("x", 3), TextDelta("y"), Ended(FinishReason.STOP))
    assert payloads(stream)[-2]["usage"]["output_tokens"] == 4


def test_pings_may_come_before_and_between() -> None:
    coder = encoder()
    stream = coder.keep_alive() + coder.event(TextDelta("x")) + coder.keep_alive()
    stream += coder.event(Ended(FinishReason.STOP, USAGE))
    assert rules_of("anthropic_messages")(stream) == []
    assert payloads(stream)[0] == {"type": "ping"}


@settings(deadline=None, max_examples=100)
@given(answers())
def test_a_whole_answer_leaves_out_cached_input(answer: Answer) -> None:
    usage = answer.ended.usage
    assert usage is not None
    told = whole(*events_of(answer))["usage"]
    assert told["input_tokens"] + told["cache_read_input_tokens"] == usage.prompt_tokens
    assert told["output_tokens"] == usage.completion_tokens


@pytest.mark.parametrize("events", [[], [Failed(EngineFailed("x"))], [Ended(FinishReason.CANCELLED)]])
def test_a_broken_answer_raises(events: list[ChatEvent]) -> None:
    with pytest.raises(CortexError):
        whole(*events)


def test_counting() -> None:
    assert json.loads(encode_count_tokens(17)) == {"input_tokens": 17}


def test_collect_is_what_both_dialects_say() -> None:
    events = [TextDelta("x"), Ended(FinishReason.STOP, USAGE)]
    assert whole(*events)["content"] == [{"type": "text", "text": collect(events).text}]
