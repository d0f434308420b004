"""Chat completion requests: every field is honoured, named as ignored, or refused by name."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from cortex.dialects.image import Image
from cortex.dialects.neutral import ChatRequest, Message, Sampling, Tool, ToolCall
from cortex.dialects.openai_chat import IGNORED_FIELDS, decode_request, encode_request
from cortex.dialects.openai_chat.schema import ChatBody
from cortex.errors import InvalidField, MalformedJson, RequestError, UnsupportedParameter
from tests.unit.dialects.generated import requests
from tests.unit.dialects.wire import compact, recorded

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def decode(**fields: Any) -> ChatRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return decode_request(json.dumps(body).encode())


def decode_messages(*messages: dict[str, Any]) -> tuple[Message, ...]:
    return decode(messages=list(messages)).messages


@pytest.mark.parametrize("path", recorded("openai_chat"))
def test_a_recorded_request_decodes_and_keeps_its_meaning_when_it_is_sent_on(path: Path) -> None:
    request = decode_request(compact(path))
    body = json.loads(compact(path))
    assert (request.model, request.stream) == (body["model"], body.get("stream", False))
    assert len(request.messages) == len(body["messages"])
    assert len(request.tools) == len(body.get("tools", ()))
    assert set(request.ignored) <= set(IGNORED_FIELDS)
    again = decode_request(encode_request(request))
    kept = ("reasoning_effort",) if request.effort else ()
    assert again == msgspec.structs.replace(request, ignored=kept)


@settings(deadline=None, max_examples=150)
@given(requests())
def test_encoding_and_decoding_keeps_a_request(request: ChatRequest) -> None:
    assert decode_request(encode_request(request)) == request


def test_every_sampling_and_limit_field_arrives() -> None:
    request = decode(
        **{"temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1, "seed": -(2**53), "logit_bias": {"7": -100}},
        **{"frequency_penalty": 1, "presence_penalty": -1, "repetition_penalty": 1.1, "ignore_eos": True},
        **{"max_tokens": 5, "max_completion_tokens": 9, "min_tokens": 2, "n": 3, "logprobs": True, "top_logprobs": 4},
    )
    assert request.sampling == Sampling(
        **{"temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1, "seed": -(2**53), "logit_bias": {"7": -100.0}},
        **{"frequency_penalty": 1.0, "presence_penalty": -1.0, "repetition_penalty": 1.1},
    )
    assert (request.max_tokens, request.min_tokens, request.ignore_eos, request.n) == (9, 2, True, 3)
    assert (request.logprobs, request.top_logprobs) == (True, 4)


@pytest.mark.parametrize(("given", "expected"), [(None, ()), ("a", ("a",)), (["a", "b"], ("a", "b")), ([], ())])
def test_stop_is_a_text_or_a_list(given: Any, expected: tuple[str, ...]) -> None:
    assert decode(stop=given).stop == expected


def test_null_means_not_given_for_every_optional_field() -> None:
    optional = [field.name for field in msgspec.structs.fields(ChatBody) if not field.required]
    assert decode(**dict.fromkeys(optional)) == decode()


def test_top_k_minus_one_is_another_spelling_of_off() -> None:
    assert decode(top_k=-1).sampling.top_k == 0


def test_roles_and_forms_of_content() -> None:
    assert decode_messages(
        {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "user",
            "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "u"}}],
        },
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "name": "x"},
        {"role": "assistant", "content": None, "refusal": "never"},
    ) == (
        Message(role="system", content="a\nb"),
        Message(role="user", content=("see", Image(url="u"))),
        Message(role="assistant", content="no", name="x"),
        Message(role="assistant", content="never"),
    )


def test_a_tool_turn_with_null_content_and_arguments_as_text() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    assert decode_messages(
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "4"},
    ) == (
        Message(role="assistant", tool_calls=(ToolCall(id="c1", name="f", arguments='{"a": 1}'),)),
        Message(role="tool", content="4", tool_call_id="c1"),
    )


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_earlier_thinking_is_read_under_both_names(name: str) -> None:
    assert decode_messages({"role": "assistant", "content": "x", name: "hm"})[0].reasoning == "hm"


def test_tools_and_a_forced_call() -> None:
    request = decode(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "f"}})
    assert request.tools == (Tool(name="f", parameters={"type": "object"}),)
    assert request.tool_choice == "function:f"


@pytest.mark.parametrize(
    ("fields", "thinking"),
    [
        ({}, None),
        ({"reasoning_effort": "none"}, False),
        ({"reasoning_effort": "high"}, None),
        ({"chat_template_kwargs": {"enable_thinking": True}}, True),
        ({"chat_template_kwargs": {"enable_thinking": "yes"}}, None),
    ],
)
def test_the_wish_to_think(fields: dict[str, Any], thinking: bool | None) -> None:
    assert decode(**fields).thinking is thinking


def test_response_formats() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}, "strict": None}}
    assert decode(response_format={"type": "text"}).response_format is None
    assert decode(response_format={"type": "json_object"}).response_format == {"type": "json_object"}
    assert decode(response_format=schema).response_format == {
        "type": "json_schema",
        "json_schema": {"name": "a", "schema": {"type": "object"}},
    }


def test_fields_without_meaning_here_are_named() -> None:
    marked = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
    image = {"type": "image_url", "image_url": {"url": "u", "detail": "low"}}
    request = decode(
        messages=[
            {"role": "user", "content": [marked, image]},
            {"role": "assistant", "content": "", "annotations": []},
        ],
        **{"user": "u", "metadata": {}, "store": False, "service_tier": "auto", "prompt_cache_key": "k"},
        **{"stream_options": {"continuous_usage_stats": True}, "verbosity": "low", "reasoning_effort": "low"},
    )
    assert request.ignored == (
        *("annotations", "cache_control", "image_url.detail", "metadata", "prompt_cache_key", "reasoning_effort"),
        *("service_tier", "store", "stream_options.continuous_usage_stats", "user", "verbosity"),
    )
    assert set(request.ignored) <= set(IGNORED_FIELDS)


@pytest.mark.parametrize(
    ("fields", "error", "param"),
    [
        ({"frobnicate": 1}, UnsupportedParameter, "frobnicate"),
        ({"stream_options": {"x": 1}}, UnsupportedParameter, "stream_options.x"),
        ({"functions": [{"name": "f"}]}, UnsupportedParameter, "functions"),
        ({"audio": {"voice": "a"}}, UnsupportedParameter, "audio"),
        ({"web_search_options": {"a": 1}}, UnsupportedParameter, "web_search_options"),
        ({"store": True}, UnsupportedParameter, "store"),
        ({"response_format": {"type": "grammar"}}, UnsupportedParameter, "response_format.type"),
        ({"tools": [{"type": "custom", "custom": {}}]}, UnsupportedParameter, "tools[0].type"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, UnsupportedParameter, "tool_choice.type"),
        ({"messages": []}, InvalidField, "messages"),
        ({"model": ""}, InvalidField, "model"),
        ({"model": 5}, InvalidField, "model"),
        ({"temperature": 2.1}, InvalidField, "temperature"),
        ({"temperature": "1"}, InvalidField, "temperature"),
        ({"top_p": -0.1}, InvalidField, "top_p"),
        ({"max_tokens": 0}, InvalidField, "max_tokens"),
        ({"max_completion_tokens": 2**40}, InvalidField, "max_completion_tokens"),
        ({"n": 0}, InvalidField, "n"),
        ({"seed": 2**63}, InvalidField, "seed"),
        ({"stop": ["a", ""]}, InvalidField, "stop"),
        ({"stop": ["x"] * 33}, InvalidField, "stop"),
        ({"top_logprobs": 2}, InvalidField, "top_logprobs"),
        ({"logit_bias": {"5": 101}}, InvalidField, "logit_bias[...]"),
        ({"tool_choice": "required"}, InvalidField, "tool_choice"),
        ({"tool_choice": "maybe"}, InvalidField, "tool_choice"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
            InvalidField,
            "tool_choice",
        ),
        ({"modalities": ["text", "audio"]}, InvalidField, "modalities[1]"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(
    fields: dict[str, Any], error: type[RequestError], param: str
) -> None:
    with pytest.raises(error) as caught:
        decode(**fields)
    assert caught.value.param == param
    assert param.split(".")[-1].split("[")[0] in caught.value.message


@pytest.mark.parametrize(
    ("message", "error", "param"),
    [
        ({"role": "function", "content": "x"}, InvalidField, "messages[0].role"),
        ({"role": "user"}, InvalidField, "messages[0].content"),
        ({"role": "user", "content": 5}, InvalidField, "messages[0].content"),
        ({"role": "user", "content": "x", "mood": 1}, UnsupportedParameter, "messages[0].mood"),
        ({"role": "tool", "content": "x"}, InvalidField, "messages[0].tool_call_id"),
        (
            {"role": "user", "content": "x", "tool_calls": [{"id": "a", "function": {"name": "f"}}]},
            InvalidField,
            "messages[0].tool_calls",
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {}}}]},
            InvalidField,
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]},
            UnsupportedParameter,
            "messages[0].content[0].type",
        ),
        ({"role": "user", "content": [{"type": "text"}]}, InvalidField, "messages[0].content[0].text"),
        ({"role": "assistant", "content": "x", "audio": {"id": "a"}}, UnsupportedParameter, "messages[0].audio"),
    ],
)
def test_a_bad_message_is_refused_by_its_place(message: dict[str, Any], error: type[RequestError], param: str) -> None:
    with pytest.raises(error) as caught:
        decode_messages(message)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"model":"\xff"}', b'{"model":"\\ud800"}', b'{"metadata":' + b"[" * 100_000]
)
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedJson):
        decode_request(body)


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"null", b"5"])
def test_json_that_is_no_object_is_invalid(body: bytes) -> None:
    with pytest.raises(InvalidField):
        decode_request(body)


def test_a_failed_tool_result_says_so_in_the_text() -> None:
    message = Message(role="tool", content="no clock", tool_call_id="c", is_error=True)
    picture = Message(role="tool", content=(Image(url="u"),), tool_call_id="c", is_error=True)
    body = json.loads(encode_request(ChatRequest(model="m", messages=(message, picture))))
    assert body["messages"][0]["content"] == "Error: no clock"
    assert body["messages"][1]["content"][0] == {"type": "text", "text": "Error:"}
