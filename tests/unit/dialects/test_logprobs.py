"""Log probabilities on the wire: names and bytes of tokens, places in the text, alternatives."""

import json

from cortex.dialects.logprobs import TokenLogprob, TopLogprob, parse_logprobs
from cortex.dialects.openai_completions.logprobs import LogprobsWriter


def entry(text: bytes, logprob: float | None = -1.0, *top: tuple[str, float]) -> TokenLogprob:
    others = tuple(TopLogprob(name, value) for name, value in top)
    return TokenLogprob(text.decode("utf-8", "backslashreplace"), logprob, tuple(text), others)


def places(text: str, *pieces: bytes) -> list[int]:
    written = LogprobsWriter().write(text, tuple(entry(piece) for piece in pieces))
    assert written is not None
    offsets: list[int] = written["text_offset"]
    return offsets


def test_offsets_count_characters_and_a_split_character_begins_with_its_first_token() -> None:
    assert places("né 🙂!", b"n", "é".encode(), b" ", b"\xf0\x9f", b"\x99\x82", b"!") == [0, 1, 2, 3, 3, 4]


def test_control_tokens_take_no_room() -> None:
    begin = TokenLogprob("<s>", None, None)
    written = LogprobsWriter().write("ab", (begin, entry(b"a"), entry(b"b")))
    assert written is not None
    assert (written["tokens"], written["text_offset"]) == (["<s>", "a", "b"], [0, 0, 1])


def test_the_space_that_a_tokenizer_puts_in_front_is_not_the_texts() -> None:
    assert places("The cat", b" The", b" cat") == [0, 3]
    assert places(" The cat", b" The", b" cat") == [0, 4]


def test_a_writer_goes_on_where_it_stopped() -> None:
    writer = LogprobsWriter()
    assert writer.write("", ()) is None
    assert [writer.write("ab", (entry(b"ab"),)), writer.write("c", (entry(b"c"),))][1]["text_offset"] == [2]  # type: ignore[index]


def test_the_token_itself_is_always_among_its_alternatives_and_a_first_has_none() -> None:
    written = LogprobsWriter().write(
        "ab", (entry(b"a", None), entry(b"b", -3.0, ("x", -0.5), ("y", -1.0), ("x", -2.0)))
    )
    assert written is not None
    assert written["top_logprobs"] == [None, {"b": -3.0, "x": -0.5, "y": -1.0}]
    listed = LogprobsWriter().write("b", (entry(b"b", -0.5, ("b", -0.5)),))
    assert listed is not None
    assert listed["top_logprobs"] == [{"b": -0.5}]


def test_entries_are_read_from_json_with_or_without_bytes() -> None:
    best = {"token": "b", "logprob": -1, "bytes": [98]}
    begin = {"token": "<s>", "logprob": None, "bytes": None, "top_logprobs": []}
    raw = json.dumps([begin, {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [best]}])
    first, second = parse_logprobs(raw)
    assert (first.logprob, first.bytes) == (None, None)
    assert second.top_logprobs == (TopLogprob("b", -1.0, (98,)),)
    assert parse_logprobs(None) == ()
