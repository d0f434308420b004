"""Server-sent events: any split of the bytes gives the same events, and one event cannot eat the memory."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cortex.dialects.sse import KEEP_ALIVE, SseEvent, SseParser, encode
from cortex.errors import UpstreamMalformed

_LINES = st.sampled_from(
    [
        "data: one",
        "data:two",
        "data:  spaced",
        "data",
        "data:",
        "event: ping",
        "event:x",
        ": comment",
        "id: 7",
        "",
        "",
        "",
    ]
).map(str.encode) | st.sampled_from(["retry: 5", "data: Røros 🙂", "unknown: field"]).map(str.encode)
_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@st.composite
def _streams(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(st.tuples(_LINES, _ENDS), max_size=30))
    return b"".join(line + end for line, end in lines)


def _parse(*chunks: bytes) -> list[SseEvent]:
    parser = SseParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


@settings(deadline=None, max_examples=300)
@given(_streams(), st.data())
def test_any_split_of_the_bytes_gives_the_same_events(stream: bytes, data: st.DataObject) -> None:
    places = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)) | {0, len(stream)})
    chunks = [stream[start:end] for start, end in pairwise(places)]
    whole = _parse(stream)
    assert _parse(*chunks) == whole
    assert _parse(*(stream[i : i + 1] for i in range(len(stream)))) == whole


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_kind_of_line_end_divides_events(end: bytes) -> None:
    stream = end.join([b"event: ping", b"data: 1", b"", b"data: 2", b"data: 3", b"", b""])
    assert _parse(stream) == [SseEvent(b"1", "ping"), SseEvent(b"2\n3")]


def test_an_event_is_given_at_its_last_byte_and_not_later() -> None:
    parser = SseParser()
    assert parser.feed(b"data: 1\r\r") == [SseEvent(b"1")]
    assert parser.feed(b"\ndata: 2\n\n") == [SseEvent(b"2")]


def test_comments_other_fields_and_empty_events_say_nothing() -> None:
    assert _parse(b": hello\n\nid: 4\nretry: 1\n\nevent: lonely\n\ndata: x\n\n") == [SseEvent(b"x")]


def test_only_one_leading_space_belongs_to_the_field() -> None:
    assert _parse(b"data:  two\n\ndata:none\n\n") == [SseEvent(b" two"), SseEvent(b"none")]


def test_a_byte_order_mark_is_skipped_also_when_split() -> None:
    stream = b"\xef\xbb\xbfdata: x\n\n"
    assert _parse(stream) == _parse(*(stream[i : i + 1] for i in range(len(stream)))) == [SseEvent(b"x")]


def test_what_has_no_end_is_no_event() -> None:
    assert _parse(b"data: cut\n") == []


@pytest.mark.parametrize("piece", [b"x" * 40, b"data: " + b"x" * 40 + b"\n"])
def test_an_event_over_the_limit_is_refused(piece: bytes) -> None:
    parser = SseParser(limit=100)
    with pytest.raises(UpstreamMalformed, match="100 bytes"):
        [parser.feed(piece) for _ in range(4)]


def test_small_events_never_reach_the_limit() -> None:
    parser = SseParser(limit=100)
    assert sum(len(parser.feed(b"data: 0123456789\n\n")) for _ in range(100)) == 100


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r")), st.none() | st.just("ping"))
def test_what_is_encoded_is_parsed_again(text: str, name: str | None) -> None:
    assert _parse(encode(text.encode(), name)) == [SseEvent(text.encode(), name)]


def test_the_keep_alive_is_no_event() -> None:
    assert _parse(KEEP_ALIVE) == []
