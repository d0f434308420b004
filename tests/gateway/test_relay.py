"""Relay and Translation by themselves: any split of the bytes, errors, the end, and what is learned on the way."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortex.dialects import anthropic, openai_chat
from cortex.dialects.neutral import Ended, TextDelta
from cortex.errors import ContextLengthExceeded, CortexError, EngineFailed, UpstreamLost, UpstreamMalformed
from cortex.gateway.relay import Relay, usage_of
from cortex.gateway.translate import Translation
from cortex.types import FinishReason, Usage

PIECES = ("Gr\u00fc\u00dfe", ' "error" [DONE] "choices":[] ', "\n\ndata: x\n\n", "end")
USAGE = Usage(prompt_tokens=9, completion_tokens=4, cached_tokens=3)


def stream(*, newline: bytes = b"\n") -> bytes:
    encoder = openai_chat.StreamEncoder(id="c", model="m", created=1, include_usage=True)
    events = [*(TextDelta(piece) for piece in PIECES), Ended(FinishReason.STOP, USAGE)]
    return b"".join(encoder.event(event) for event in events).replace(b"\n", newline)


def error_event(error: CortexError) -> bytes:
    return b"data: " + openai_chat.encode_error(error) + b"\n\n"


def splits(data: bytes) -> st.SearchStrategy[list[bytes]]:
    places = st.lists(st.integers(0, len(data)), max_size=12).map(sorted)
    return places.map(lambda cuts: [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)])


def fed(sink: Relay | Translation, chunks: list[bytes]) -> bytes:
    out = [sink.feed(chunk, float(now)) for now, chunk in enumerate(chunks, 1)]
    return b"".join([*out, sink.close()])


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@given(data=st.data())
def test_all_bytes_pass_whatever_the_split(newline: bytes, data: st.DataObject) -> None:
    whole = stream(newline=newline)
    relay = Relay(drop_usage=False)
    assert fed(relay, data.draw(splits(whole))) == whole
    assert relay.usage == USAGE
    assert relay.first_token is not None


@given(data=st.data())
def test_only_the_usage_event_is_dropped(data: st.DataObject) -> None:
    whole = stream()
    kept = [event for event in whole.split(b"\n\n") if b'"usage":{' not in event]
    relay = Relay(drop_usage=True)
    assert fed(relay, data.draw(splits(whole))) == b"\n\n".join(kept)
    assert relay.usage == USAGE


def test_the_first_token_is_not_the_role() -> None:
    events = stream().split(b"\n\n")
    role = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}'
    relay = Relay(drop_usage=False)
    assert relay.feed(b": a comment\n\n", 1.0) == b": a comment\n\n"
    assert relay.feed(role + b"\n\n", 2.0) == b"", "held back: another host may still begin anew"
    assert (relay.first_token, relay.fresh) == (None, True)
    assert relay.feed(events[1] + b"\n\n", 3.0) == role + b"\n\n" + events[1] + b"\n\n"
    assert (relay.first_token, relay.fresh) == (3.0, False)


def test_an_answer_without_a_token_passes_too() -> None:
    first, *_, last = [event for event in stream().split(b"\n\n") if b'"choices":[{' in event]
    whole = b"\n\n".join([first, last, b"data: [DONE]", b""])
    relay = Relay(drop_usage=False)
    assert fed(relay, [whole]) == whole
    assert relay.first_token is None


def test_what_is_held_back_is_bounded() -> None:
    relay = Relay(drop_usage=False)
    role = b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'
    assert b"".join(relay.feed(role, 1.0) for _ in range(2000)).startswith(role)


@pytest.mark.parametrize("delta", ['{"reasoning_content":"hm"}', '{"tool_calls":[{"index":0}]}'])
def test_reasoning_and_tool_calls_are_tokens_too(delta: str) -> None:
    relay = Relay(drop_usage=False)
    relay.feed(f'data: {{"choices":[{{"index":0,"delta":{delta}}}]}}\n\n'.encode(), 5.0)
    assert relay.first_token == 5.0


@pytest.fixture(params=["relay", "translation"])
def sink(request: pytest.FixtureRequest) -> Relay | Translation:
    if request.param == "relay":
        return Relay(drop_usage=False)
    return Translation(anthropic.StreamEncoder(id="msg", model="m", input_tokens=1))


def test_a_cut_is_lost_and_never_an_end(sink: Relay | Translation) -> None:
    events = stream().split(b"\n\n")
    assert b"Gr" in sink.feed(b"\n\n".join(events[:3]), 1.0)
    with pytest.raises(UpstreamLost):
        sink.close()


def test_an_error_first_is_raised_and_leaves_the_answer_fresh(sink: Relay | Translation) -> None:
    with pytest.raises(ContextLengthExceeded):
        sink.feed(error_event(ContextLengthExceeded("too long")), 1.0)
    assert sink.fresh


def test_what_stands_before_an_error_goes_out_first(sink: Relay | Translation) -> None:
    first = b"\n\n".join(stream().split(b"\n\n")[:3]) + b"\n\n"
    out = sink.feed(first + error_event(EngineFailed("secret")), 1.0)
    assert b"Gr" in out
    assert b"secret" not in out
    assert not sink.fresh
    with pytest.raises(EngineFailed):
        sink.feed(b"", 2.0)
    with pytest.raises(EngineFailed):
        sink.close()


@pytest.mark.parametrize("junk", [b"data: {\n\n", b"data: \xff\n\n", b"data: []\n\n", b'data: {"choices":7}\n\n'])
def test_a_chunk_that_is_no_completion_is_malformed(sink: Relay | Translation, junk: bytes) -> None:
    with pytest.raises(UpstreamMalformed):
        sink.feed(junk, 1.0)


@pytest.mark.parametrize("newline", [b"\n\n", b"\r\n\r\n"])
@pytest.mark.parametrize("junk", [b"{not json}", b'{"a": 1} {"b": 2}', b"[1]", b'{"a": "\xff"}', b"null"])
def test_garbage_after_the_first_token_is_not_passed_on(junk: bytes, newline: bytes) -> None:
    relay = Relay(drop_usage=False)
    said = b'data: {"choices": [{"delta": {"content": "Hi"}}]}' + newline
    assert relay.feed(said, 1.0) == said
    with pytest.raises(UpstreamMalformed):
        relay.feed(b"data: " + junk + newline, 2.0)


@given(data=st.data())
def test_the_translation_is_the_same_whatever_the_split(data: st.DataObject) -> None:
    whole = stream()
    once, split = (Translation(anthropic.StreamEncoder(id="msg", model="m", input_tokens=1)) for _ in range(2))
    assert fed(once, [whole]) == fed(split, data.draw(splits(whole)))
    assert once.usage == USAGE


def test_the_usage_of_a_whole_answer() -> None:
    events = [TextDelta("x"), Ended(FinishReason.STOP, USAGE)]
    assert usage_of(openai_chat.encode_response(events, id="c", model="m", created=1)) == USAGE
    assert usage_of(b'{"choices":[]}') is None
    for body in (b"{}", b"<html>", b'{"choices":{}}'):
        with pytest.raises(UpstreamMalformed):
            usage_of(body)
    with pytest.raises(ContextLengthExceeded):
        usage_of(msgspec.json.encode({"error": {"code": "context_length_exceeded", "message": "too long"}}))
