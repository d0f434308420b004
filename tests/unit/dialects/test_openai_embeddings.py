"""Embeddings: every field is honoured, named as ignored, or refused by name; vectors keep every bit in both formats."""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortex.dialects.openai_embeddings import (
    IGNORED_FIELDS,
    EmbeddingRequest,
    decode_request,
    encode_item,
    encode_response,
    usage_of,
)
from cortex.errors import ContextLengthExceeded, InvalidField, MalformedJson, UnsupportedParameter, UpstreamMalformed
from cortex.types import Usage
from tests.unit.dialects.wire import compact, recorded


def decode(**fields: Any) -> EmbeddingRequest:
    return decode_request(json.dumps({"model": "m", "input": "hi", **fields}).encode())


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        ("one", ("one",)),
        ("", ("",)),
        (["one", "", "two"], ("one", "", "two")),
        ([1, 2, 3], ((1, 2, 3),)),
        ([[1, 2], [3]], ((1, 2), (3,))),
    ],
)
def test_every_form_of_input_is_taken(given: Any, inputs: Any) -> None:
    assert decode(input=given).inputs == inputs


@pytest.mark.parametrize(
    "given",
    [[], [[]], [[1], []], ["one", 2], [1, "two"], [[1], "two"], [-1], [1.5], [None], [2**32]],
)
def test_what_is_no_input_is_refused(given: Any) -> None:
    with pytest.raises(InvalidField) as caught:
        decode(input=given)
    assert caught.value.param == "input"


@pytest.mark.parametrize("path", recorded("openai_embeddings"))
def test_a_recorded_request_decodes(path: Path) -> None:
    asked, body = decode_request(compact(path)), json.loads(compact(path))
    given = [body["input"]] if isinstance(body["input"], str) else body["input"]
    assert (asked.model, list(asked.inputs)) == (body["model"], given)
    assert asked.base64 == (body.get("encoding_format") == "base64")


def test_too_many_inputs_are_refused_with_the_number() -> None:
    assert len(decode(input=["x"] * 2048).inputs) == 2048
    assert len(decode(input=[1] * 5000).inputs) == 1  # one text of many tokens
    with pytest.raises(InvalidField, match="2049"):
        decode(input=["x"] * 2049)


def test_the_other_fields() -> None:
    plain = decode()
    assert (plain.base64, plain.dimensions, plain.ignored) == (False, None, ())
    assert decode(encoding_format=None, dimensions=None, user=None) == plain
    full = decode(encoding_format="base64", dimensions=12, user="me")
    assert (full.base64, full.dimensions, full.ignored) == (True, 12, IGNORED_FIELDS)


@pytest.mark.parametrize(
    ("fields", "failure", "param"),
    [
        ({"encoding_format": "int8"}, InvalidField, "encoding_format"),
        ({"dimensions": 0}, InvalidField, "dimensions"),
        ({"dimensions": "many"}, InvalidField, "dimensions"),
        ({"model": ""}, InvalidField, "model"),
        ({"truncate_prompt_tokens": 5}, UnsupportedParameter, "truncate_prompt_tokens"),
    ],
)
def test_other_values_are_refused_by_name(fields: dict[str, Any], failure: type[Exception], param: str) -> None:
    with pytest.raises(failure) as caught:
        decode(**fields)
    assert caught.value.param == param  # type: ignore[attr-defined]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model": "m"}', b'{"input": "x"}', b"\xff"])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises((MalformedJson, InvalidField)):
        decode_request(body)


vectors = st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3))


@given(vectors, st.booleans())
def test_vectors_keep_every_bit(rows: list[list[float]], as_base64: bool) -> None:
    packed = [struct.pack("<3f", *row) for row in rows]
    items = [encode_item(vector, index=index, base64_=as_base64) for index, vector in enumerate(packed)]
    body = encode_response(items, model="mädel", usage=Usage(prompt_tokens=5))
    answer = json.loads(body)
    assert (answer["object"], answer["model"]) == ("list", "mädel")
    assert answer["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
    assert [item["index"] for item in answer["data"]] == list(range(len(rows)))
    assert {item["object"] for item in answer["data"]} <= {"embedding"}
    found = [item["embedding"] for item in answer["data"]]
    back = [base64.b64decode(one) for one in found] if as_base64 else [struct.pack("<3f", *one) for one in found]
    assert back == packed
    assert usage_of(body) == Usage(prompt_tokens=5)


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"data": [}', b"[]", b'{"choices": []}'])
def test_what_is_no_answer_is_the_hosts_fault(body: bytes) -> None:
    with pytest.raises(UpstreamMalformed):
        usage_of(body)


def test_a_hosts_error_is_ours() -> None:
    error = {"error": {"message": "too long", "code": "context_length_exceeded", "prompt_tokens": 9}}
    with pytest.raises(ContextLengthExceeded):
        usage_of(json.dumps(error).encode())
