"""Responses requests: items become turns, tools become functions, and every field is honoured, named or refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cortex.dialects import openai_chat
from cortex.dialects.answer import Answer, events_of
from cortex.dialects.image import Image
from cortex.dialects.neutral import Message, Sampling, Tool, ToolCall
from cortex.dialects.openai_responses import (
    IGNORED_FIELDS,
    ResponsesRequest,
    encode_response,
    parse_request,
    read_request,
)
from cortex.dialects.openai_responses.schema import ResponsesBody
from cortex.dialects.openai_responses.seal import seal, unseal
from cortex.dialects.openai_responses.tools import CalledAs
from cortex.errors import ChainingUnsupported, InvalidField, MalformedJson, RequestError, UnsupportedParameter
from tests.unit.dialects.generated import answers
from tests.unit.dialects.wire import compact, recorded

KEY = b"key"
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}


def read(body: bytes) -> ResponsesRequest:
    return read_request(parse_request(body), signing_key=KEY)


def decode(**fields: Any) -> ResponsesRequest:
    return read(json.dumps({"model": "m", "input": "hi", **fields}).encode())


def turns(*items: dict[str, Any], **fields: Any) -> tuple[Message, ...]:
    return decode(input=list(items), **fields).chat.messages


def call(name: str = "f", **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": "c1", "name": name, "arguments": '{"a":1}', **more}


@pytest.mark.parametrize("path", recorded("openai_responses"))
def test_a_recorded_request_decodes_or_is_refused_by_name(path: Path) -> None:
    body = json.loads(compact(path))
    if "previous_id" in path.stem:
        with pytest.raises(ChainingUnsupported) as caught:
            read(compact(path))
        assert (caught.value.status, caught.value.param) == (400, "previous_response_id")
        return
    asked = read(compact(path))
    assert asked.chat.model == body["model"]
    made_up = [name for name in asked.chat.ignored if name not in IGNORED_FIELDS]
    assert all(name.startswith(("tools.", "input.")) for name in made_up)
    assert all(message.role != "system" for message in asked.chat.messages[1:])
    sent = openai_chat.decode_request(openai_chat.encode_request(asked.chat))
    assert [message.role for message in sent.messages] == [message.role for message in asked.chat.messages]
    assert sent.response_format == asked.chat.response_format


def test_an_agents_first_turn() -> None:
    found = [param.values[0] for param in recorded("openai_responses") if str(param.id).startswith("codex__main")]
    if not found:
        pytest.skip("shared/fixtures/wire is not beside this checkout: an agent's request is not read")
    path = found[0]
    assert isinstance(path, Path)
    asked = read(compact(path))
    body = json.loads(compact(path))
    assert [message.role for message in asked.chat.messages] == ["system", "user"]
    assert asked.chat.ignored == ("client_metadata", "prompt_cache_key", "store", "tools.web_search")
    plain = [tool["name"] for tool in body["tools"] if tool["type"] == "function"]
    inner = [
        f"{tool['name']}__{one['name']}"
        for tool in body["tools"]
        if tool["type"] == "namespace"
        for one in tool["tools"]
    ]
    assert sorted(tool.name for tool in asked.chat.tools) == sorted([*plain, *inner])
    assert sorted(asked.called_as) == sorted(inner)
    assert (asked.seal, asked.summarise, asked.echo["store"]) == (True, True, False)


def test_plain_text_and_instructions() -> None:
    asked = decode(instructions="Be brief.", max_output_tokens=5, temperature=0, top_k=-1, stream=True)
    assert asked.chat.messages == (Message(role="system", content="Be brief."), Message(role="user", content="hi"))
    assert (asked.chat.max_tokens, asked.chat.stream, asked.chat.sampling) == (
        5,
        True,
        Sampling(temperature=0, top_k=0),
    )
    assert asked.items == ({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},)


def test_one_answer_of_many_items_is_one_turn() -> None:
    messages = turns(
        {"role": "user", "content": "look"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "I look.", "annotations": []}],
        },
        call(),
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "", "namespace": "ns"},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "two"}]},
        {"role": "user", "content": [{"type": "input_text", "text": "and"}]},
        {"role": "user", "content": "so?"},
    )
    assert messages == (
        Message(role="user", content="look"),
        Message(
            role="assistant",
            content="I look.",
            reasoning="Hm.",
            tool_calls=(
                ToolCall(id="c1", name="f", arguments='{"a":1}'),
                ToolCall(id="c2", name="ns__g", arguments="{}"),
            ),
        ),
        Message(role="tool", content="one", tool_call_id="c1"),
        Message(role="tool", content="two", tool_call_id="c2"),
        Message(role="user", content="and\n\nso?"),
    )


def test_a_late_system_message_stays_in_its_place_as_a_tagged_user_turn() -> None:
    messages = turns(
        {"role": "user", "content": "a"},
        {"role": "developer", "content": "early"},
        {"role": "assistant", "content": "b"},
        {"role": "system", "content": "late"},
        instructions="first",
    )
    assert [(message.role, message.content) for message in messages] == [
        ("system", "first\n\nearly"),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "<system-reminder>\nlate\n</system-reminder>"),
    ]


def test_images_and_custom_calls() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"}
    asked = decode(
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "see"}, image]},
            {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": 'a "b"'},
            {"type": "custom_tool_call_output", "call_id": "c1", "output": [image]},
        ]
    )
    picture = Image(url="data:image/png;base64,AAAA")
    assert asked.chat.messages == (
        Message(role="user", content=("see", picture)),
        Message(role="assistant", tool_calls=(ToolCall(id="c1", name="patch", arguments='{"input":"a \\"b\\""}'),)),
        Message(role="tool", content=(picture,), tool_call_id="c1"),
    )
    assert asked.chat.ignored == ("image_url.detail",)


def test_kinds_of_tools() -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: A"}
    asked = decode(
        tools=[
            {**FUNCTION, "description": "d", "strict": True, "defer_loading": True},
            {"type": "namespace", "name": "ns", "description": "", "tools": [{**FUNCTION}, {"type": "web_search"}]},
            {"type": "custom", "name": "patch", "description": "Patches.", "format": grammar},
            {"type": "local_shell"},
            {"type": "x\r\ny: z"},
        ]
    )
    text = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    described = "Patches.\n\nThe input follows this lark grammar:\nstart: A"
    assert asked.chat.tools == (
        Tool(name="f", description="d", parameters={"type": "object"}, strict=True),
        Tool(name="ns__f", parameters={"type": "object"}),
        Tool(name="patch", description=described, parameters=text),
    )
    assert asked.called_as == {"ns__f": CalledAs("f", "ns"), "patch": CalledAs("patch", custom=True)}
    assert asked.chat.ignored == (
        *("tools.*", "tools.defer_loading", "tools.format", "tools.local_shell", "tools.web_search"),
    )


@pytest.mark.parametrize(
    ("choice", "neutral", "names"),
    [
        ("auto", "auto", ["f", "ns__g"]),
        ("none", "none", ["f", "ns__g"]),
        ("required", "required", ["f", "ns__g"]),
        ({"type": "function", "name": "f"}, "function:f", ["f", "ns__g"]),
        ({"type": "function", "name": "g", "namespace": "ns"}, "function:ns__g", ["f", "ns__g"]),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}, "auto", ["f"]),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"name": "f"}]}, "required", ["f"]),
    ],
)
def test_tool_choice(choice: Any, neutral: str, names: list[str]) -> None:
    space = {"type": "namespace", "name": "ns", "tools": [{**FUNCTION, "name": "g"}]}
    chat = decode(tools=[FUNCTION, space], tool_choice=choice).chat
    assert (chat.tool_choice, [tool.name for tool in chat.tools]) == (neutral, names)


def test_formats_thinking_and_hints() -> None:
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    plain = {name: value for name, value in schema.items() if name != "type"}
    assert decode(text={"format": schema}).chat.response_format == {"type": "json_schema", "json_schema": plain}
    assert decode(text={"format": {"type": "json_object"}}).chat.response_format == {"type": "json_object"}
    assert decode(text={"format": {"type": "text"}, "verbosity": "low"}).chat.response_format is None
    assert decode(reasoning={"effort": "none"}).chat.thinking is False
    asked = decode(
        reasoning={"effort": "low"}, include=["file_search_call.results"], store=True, service_tier="auto", user="u"
    )
    assert asked.chat.ignored == ("include", "reasoning.effort", "service_tier", "store", "user")
    assert asked.echo["store"] is False


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"truncation": "auto"}, "truncation"),
        ({"no_such": 1}, "no_such"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input[0].content[0].type",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input[0].content[0].type",
        ),
        ({"tool_choice": {"type": "web_search"}, "tools": [FUNCTION]}, "tool_choice.type"),
    ],
)
def test_what_is_not_offered_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        decode(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": 5}, "input"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
        ({"tools": [{"name": "f"}]}, "tools[0].type"),
        ({"tools": [FUNCTION, FUNCTION]}, "tools[1]"),
        ({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "function"}]}]}, "tools[0].tools[0].name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "perhaps"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "g"}, "tools": [FUNCTION]}, "tool_choice"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"metadata": {"a": 1}}, "metadata[...]"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidField) as caught:
        decode(**fields)
    assert caught.value.param == param


def test_every_field_of_the_body_is_honoured_named_or_refused() -> None:
    """A field added to the wire struct without a meaning fails here."""
    honoured = {
        *(
            "model",
            "input",
            "instructions",
            "stream",
            "max_output_tokens",
            "tools",
            "tool_choice",
            "temperature",
            "top_p",
        ),
        *("parallel_tool_calls", "text", "reasoning", "include", "store", "previous_response_id", "truncation"),
        *("metadata", "top_k", "min_p", "seed", "frequency_penalty", "presence_penalty", "repetition_penalty"),
        *("chat_template_kwargs", "stream_options", "top_logprobs"),
    }
    for name in set(ResponsesBody.__struct_fields__) - honoured:
        try:
            named: tuple[str | None, ...] = decode(**{name: {"a": "b"}}).chat.ignored
        except UnsupportedParameter as error:
            named = (error.param,)
        assert named == (name,)


def test_log_probabilities_are_asked_for_by_either_field() -> None:
    for fields, wanted in (
        ({"include": ["message.output_text.logprobs"]}, (True, None)),
        ({"top_logprobs": 3}, (True, 3)),
        ({"top_logprobs": 0}, (False, None)),
    ):
        chat = decode(**fields).chat
        assert ((chat.logprobs, chat.top_logprobs), chat.ignored) == (wanted, ())


def test_unknown_items_and_fields_are_kept_out_and_named() -> None:
    asked = decode(
        input=[
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
            {"role": "user", "content": "hi", "mood": "calm", "phase": None},
            *({"type": f"kind_{number}"} for number in range(100)),
        ]
    )
    assert asked.chat.messages == (Message(role="user", content="hi"),)
    assert {"input.web_search_call", "input.mood", "input.*"} <= set(asked.chat.ignored)
    assert len(asked.chat.ignored) < 50


def test_thinking_comes_back_only_if_we_wrote_it() -> None:
    sealed = seal("Two places.", "m", KEY)
    assert unseal(sealed, "m", KEY) == "Two places."
    for model, key, text in (("m", b"other", sealed), ("n", KEY, sealed), ("m", KEY, "AAAA"), ("m", KEY, "é")):
        assert unseal(text, model, key) is None
    item = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Told."}]}
    user = {"role": "user", "content": "go on"}
    assert turns({**item, "encrypted_content": sealed}, user)[0] == Message(role="assistant", reasoning="Two places.")
    assert turns({**item, "encrypted_content": "AAAA"}, user) == (Message(role="user", content="go on"),)
    assert turns(item, user) == (Message(role="user", content="go on"),)


@settings(deadline=None, max_examples=100)
@given(answers(), st.booleans())
def test_an_answer_that_comes_back_means_what_it_said(answer: Answer, summarise: bool) -> None:
    asked = decode(include=["reasoning.encrypted_content"], reasoning={"summary": "auto"} if summarise else {})
    body = encode_response(events_of(answer), asked, id="resp_1", created=1, signing_key=KEY)
    output = json.loads(body)["output"]
    messages = turns(*output, {"role": "user", "content": "go on"})[:-1]
    if not (answer.text or answer.reasoning or answer.tool_calls):
        assert messages == ()
        return
    (message,) = messages
    assert (message.content, message.reasoning or "") == (answer.text, answer.reasoning)
    assert message.tool_calls == answer.tool_calls


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60) | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps))
def test_no_body_breaks_the_decoder(body: bytes | str) -> None:
    raw = body if isinstance(body, bytes) else b'{"model":"m","input":' + body.encode() + b"}"
    status = 200
    try:
        read(raw)
    except RequestError as error:
        status = error.status
    assert status in (200, 400)


def test_nesting_without_end_is_malformed() -> None:
    with pytest.raises(MalformedJson):
        read(b'{"model":"m","input":[' + b'{"a":' * 100_000)
