"""The head of a body is read alone, and replacing the model leaves every other byte as it was."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cortex.dialects.head import Head, peek, replace_fields, replace_model
from cortex.errors import InvalidField, MalformedJson, RequestError

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["model", '"model":"x"', "\\"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("model"), inner, max_size=3)
    ),
    max_leaves=10,
)


def test_the_head_of_a_chat_body() -> None:
    body = b'{"model":"m","stream":true,"stream_options":{"include_usage":true},"max_tokens":5,"n":2,"x":[{}]}'
    assert peek(body) == Head("m", True, True, 5, 2)


def test_absent_and_null_fields_are_not_given() -> None:
    assert peek(b'{"model":"m","stream":null,"max_tokens":null}') == Head("m", False, False, None, 1)


def test_max_completion_tokens_wins() -> None:
    assert peek(b'{"model":"m","max_tokens":5,"max_completion_tokens":7}').max_tokens == 7


@pytest.mark.parametrize(
    ("body", "error", "param"),
    [
        (b"", MalformedJson, None),
        (b"{", MalformedJson, None),
        (b'{"model":"\xff"}', MalformedJson, None),
        (b'{"x":' + b"[" * 100_000, MalformedJson, None),
        (b"[]", InvalidField, None),
        (b"{}", InvalidField, "model"),
        (b'{"model":7}', InvalidField, "model"),
        (b'{"model":""}', InvalidField, "model"),
        (b'{"model":"m","stream":"yes"}', InvalidField, "stream"),
        (b'{"model":"m","stream_options":{"include_usage":1}}', InvalidField, "stream_options.include_usage"),
    ],
)
def test_a_bad_head_names_the_field(body: bytes, error: type[RequestError], param: str | None) -> None:
    with pytest.raises(error) as caught:
        peek(body)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"a"}', b'{"model":"b"}'),
        (b' {\n "x" : {"model":"a"} ,\t"model"  :\r\n "a" , "y":1.50e+1 } ', None),
        (b'{"mod\\u0065l":"a","x":"\\"model\\":\\"a\\""}', b'{"mod\\u0065l":"b","x":"\\"model\\":\\"a\\""}'),
        (b'{"x":["model","a"],"model":"a","z":"}"}', b'{"x":["model","a"],"model":"b","z":"}"}'),
    ],
)
def test_only_the_bytes_of_the_model_change(body: bytes, expected: bytes | None) -> None:
    if expected is None:
        expected = b' {\n "x" : {"model":"a"} ,\t"model"  :\r\n "b" , "y":1.50e+1 } '
    assert replace_model(body, "b") == expected


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.text(max_size=5), _VALUES, max_size=5), st.integers(0, 5), st.text(max_size=8), st.booleans())
def test_replacing_the_model_and_putting_it_back_is_nothing(
    fields: dict[str, object], place: int, model: str, ascii_only: bool
) -> None:
    items = [(name, value) for name, value in fields.items() if name != "model"]
    items.insert(place, ("model", "the-old-one"))
    body = json.dumps(dict(items), indent=place or None, ensure_ascii=ascii_only).encode()
    changed = replace_model(body, model)
    assert json.loads(changed) == {**dict(items), "model": model}
    assert replace_model(changed, "the-old-one") == body


def test_missing_fields_are_added_in_front() -> None:
    assert replace_fields(b' {"a":1}', {"b": {"c": True}}) == b' {"b":{"c":true},"a":1}'
    assert replace_fields(b"{ }", {"b": 1}) == b'{"b":1 }'


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b"}',
        b'{"model":"a","model":"a"}',
        b'{"model":"a","x":1,"model":"b"}',
        b'{"x":1,"model":"a","x":1}',
        b'{"model":"a","mod\\u0065l":"b"}',
    ],
)
def test_a_field_that_stands_twice_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidField, match="twice"):
        replace_model(body, "c")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"model"', b'{"model":"a"} x'])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError):
        replace_model(body, "c")
