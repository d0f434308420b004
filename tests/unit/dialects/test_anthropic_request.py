"""Messages and count_tokens requests: blocks become turns, and every field is honoured, named or refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from cortex.dialects import anthropic, openai_chat
from cortex.dialects.anthropic.schema import MessagesBody
from cortex.dialects.anthropic.signature import sign
from cortex.dialects.image import Image
from cortex.dialects.neutral import ChatRequest, Message, Sampling, Tool, ToolCall
from cortex.errors import InvalidField, MalformedJson, RequestError, UnsupportedParameter
from tests.unit.dialects.wire import compact, recorded

USER = {"role": "user", "content": "hi"}
TOOL = {"name": "f", "input_schema": {"type": "object"}}
MARK = {"type": "ephemeral"}


def decode(**fields: Any) -> ChatRequest:
    body = {"model": "m", "max_tokens": 5, "messages": [USER], **fields}
    return anthropic.decode_request(json.dumps(body).encode(), signing_key=b"key")


def decode_turns(*turns: dict[str, Any], **fields: Any) -> tuple[Message, ...]:
    return decode(messages=[*turns, USER], **fields).messages[:-1]


def text(content: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": content, **more}


@pytest.mark.parametrize("path", recorded("anthropic_messages"))
def test_a_recorded_request_decodes_or_is_refused_by_name(path: Path) -> None:
    body = json.loads(compact(path))
    request = anthropic.decode_request(compact(path))
    assert (request.model, request.max_tokens) == (body["model"], body["max_tokens"])
    tools = body.get("tools", ())
    assert [tool.name for tool in request.tools] == [tool["name"] for tool in tools if "input_schema" in tool]
    served = {f"tools.{tool['type']}" for tool in tools if "input_schema" not in tool}
    assert served <= set(request.ignored) <= {*anthropic.IGNORED_FIELDS, *served}
    assert all(message.role != "system" for message in request.messages[1:])
    sent = openai_chat.decode_request(openai_chat.encode_request(request))
    assert [message.role for message in sent.messages] == [message.role for message in request.messages]


@pytest.mark.parametrize("path", recorded("anthropic_count_tokens"))
def test_a_recorded_count_decodes(path: Path) -> None:
    body = json.loads(compact(path))
    request = anthropic.decode_count_tokens(compact(path))
    assert request.model == body["model"]
    assert request.max_tokens is None
    assert len(request.tools) == len(body.get("tools", ()))


def test_an_agents_second_turn() -> None:
    path = next(param.values[0] for param in recorded("anthropic_messages") if param.id == "own__agent_turn")
    request = anthropic.decode_request(compact(path))
    assert request.messages == (
        Message(role="system", content="You help.\n\nThe date is today."),
        Message(role="user", content="List the files."),
        Message(role="assistant", tool_calls=(ToolCall(id="toolu_1", name="list_files", arguments='{"path":"."}'),)),
        Message(role="tool", content="a.py", tool_call_id="toolu_1"),
        Message(role="user", content="Go on."),
    )
    assert (request.thinking, request.stream, request.max_tokens) == (None, True, 32000)
    assert request.ignored == ("cache_control", "eager_input_streaming", "metadata")


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("Be brief.", "Be brief."),
        ([text("a", cache_control=MARK), text("b")], "a\n\nb"),
        ([text("x-anthropic-billing-header: cc_version=1; cch=9;"), text("a")], "a"),
        ([text("left: <total_tokens>187 tokens left</total_tokens>\na")], "left: a"),
    ],
)
def test_system_text(system: Any, expected: str) -> None:
    assert decode(system=system).messages[0] == Message(role="system", content=expected)


@pytest.mark.parametrize("system", ["", [], [text("x-anthropic-billing-header: cch=1;")]])
def test_no_system_text_is_no_message(system: Any) -> None:
    assert decode(system=system).messages == (Message(role="user", content="hi"),)


def test_the_prompt_does_not_change_with_what_changes_in_each_request() -> None:
    def prompt(count: int) -> tuple[Message, ...]:
        billing = text(f"x-anthropic-billing-header: cc_version=1; cch={count};")
        counter = text(f"<total_tokens>{count} tokens left</total_tokens>\nYou help.")
        return decode(system=[billing, counter]).messages

    assert prompt(1) == prompt(2)


def test_a_late_system_turn_stays_in_its_place_as_a_tagged_user_turn() -> None:
    messages = decode_turns(
        USER,
        {"role": "system", "content": "early"},
        {"role": "assistant", "content": "yes"},
        USER,
        {"role": "system", "content": [text("late")]},
        {"role": "assistant", "content": "yes"},
    )
    assert [message.content for message in messages] == [
        *("early", "hi", "yes"),
        *("hi\n\n<system-reminder>\nlate\n</system-reminder>", "yes"),
    ]


def test_tool_results_come_before_the_rest_of_their_turn() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    linked = {"type": "image", "source": {"type": "url", "url": "http://localhost/a.png"}}
    turn = [
        text("before"),
        {"type": "tool_result", "tool_use_id": "a", "content": [text("x"), image]},
        {"type": "tool_result", "tool_use_id": "b", "content": "bad", "is_error": True},
        {"type": "tool_result", "tool_use_id": "c"},
        linked,
    ]
    calls = [{"type": "tool_use", "id": name, "name": "f", "input": {"n": 1}} for name in "abc"]
    messages = decode_turns({"role": "assistant", "content": [text("s"), *calls]}, {"role": "user", "content": turn})
    assert [call.id for call in messages[0].tool_calls] == ["a", "b", "c"]
    assert messages[1:4] == (
        Message(role="tool", content=("x", Image(url="data:image/png;base64,AAAA")), tool_call_id="a"),
        Message(role="tool", content="bad", tool_call_id="b", is_error=True),
        Message(role="tool", content="", tool_call_id="c"),
    )


def test_neighbouring_user_turns_are_one() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "u"}}
    request = decode(messages=[USER, USER, {"role": "user", "content": [text("see"), image]}])
    assert request.messages == (Message(role="user", content=("hi\n\nhi", "see", Image(url="u"))),)


@pytest.mark.parametrize(
    ("model", "key", "kept"), [("m", b"key", True), ("other", b"key", False), ("m", b"another", False)]
)
def test_thinking_counts_only_under_our_signature_for_this_model(model: str, key: bytes, kept: bool) -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": sign("hm", model, key)}
    redacted = {"type": "redacted_thinking", "data": "x"}
    message = decode_turns({"role": "assistant", "content": [redacted, thought, text("a")]})[0]
    assert message == Message(role="assistant", content="a", reasoning="hm" if kept else None)


@pytest.mark.parametrize("signature", ["", "Zm9yZWlnbg==", "kein Schlüssel", None])
def test_a_foreign_signature_is_never_an_error(signature: str | None) -> None:
    thought = {"type": "thinking", "thinking": "hm"} | ({} if signature is None else {"signature": signature})
    assert decode_turns({"role": "assistant", "content": [thought]})[0].reasoning is None


@pytest.mark.parametrize(
    ("keep", "expected"),
    [("all", ["1", "2"]), (None, [None, "2"]), ({"type": "thinking_turns", "value": 2}, ["1", "2"])],
)
def test_old_thinking_is_cleared_as_asked(keep: Any, expected: list[str | None]) -> None:
    turns = []
    for thought in ("1", "2"):
        signed = {"type": "thinking", "thinking": thought, "signature": sign(thought, "m", b"key")}
        turns += [USER, {"role": "assistant", "content": [signed]}]
    edit = {"type": "clear_thinking_20251015"} | ({} if keep is None else {"keep": keep})
    messages = decode_turns(*turns, context_management={"edits": [edit]})
    assert [message.reasoning for message in messages if message.role == "assistant"] == expected


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, ("auto", None)),
        ({"type": "any", "disable_parallel_tool_use": True}, ("required", False)),
        ({"type": "tool", "name": "f", "disable_parallel_tool_use": False}, ("function:f", True)),
        ({"type": "none"}, ("none", None)),
        (None, (None, None)),
    ],
)
def test_tool_choices(choice: Any, expected: tuple[str | None, bool | None]) -> None:
    request = decode(tools=[TOOL], tool_choice=choice)
    assert (request.tool_choice, request.parallel_tool_calls) == expected


def test_tools_sampling_stops_and_structure() -> None:
    schema = {"type": "object", "properties": {}}
    request = decode(
        tools=[{**TOOL, "type": "custom", "description": "d", "strict": True, "input_examples": [{}]}],
        **{"temperature": 0.5, "top_p": 0.9, "top_k": 5, "stop_sequences": ["END"]},
        output_config={"effort": "low", "format": {"type": "json_schema", "schema": schema}},
    )
    assert request.tools == (Tool(name="f", description="d", parameters={"type": "object"}, strict=True),)
    assert request.sampling == Sampling(temperature=0.5, top_p=0.9, top_k=5)
    assert request.stop == ("END",)
    assert request.response_format is not None
    assert request.response_format["json_schema"]["schema"] == schema
    assert request.ignored == ("input_examples", "output_config.effort")


@pytest.mark.parametrize(
    ("thinking", "expected", "ignored"),
    [
        ({"type": "adaptive", "display": "omitted"}, None, ("thinking.display",)),
        ({"type": "enabled", "budget_tokens": 1024}, True, ("thinking.budget_tokens",)),
        ({"type": "disabled"}, False, ()),
    ],
)
def test_thinking_modes(thinking: Any, expected: bool | None, ignored: tuple[str, ...]) -> None:
    request = decode(thinking=thinking)
    assert (request.thinking, request.ignored) == (expected, ignored)


def test_null_means_not_given_for_every_optional_field() -> None:
    required = {"model", "messages", "max_tokens"}
    assert decode(**{name: None for name in MessagesBody.__struct_fields__ if name not in required}) == decode()


@pytest.mark.parametrize(
    ("fields", "error", "param"),
    [
        ({"frobnicate": 1}, UnsupportedParameter, "frobnicate"),
        ({"mcp_servers": [{"url": "u"}]}, UnsupportedParameter, "mcp_servers"),
        ({"compaction": {"type": "x"}}, UnsupportedParameter, "compaction"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, UnsupportedParameter, "tools[0].type"),
        ({"tools": [{"type": 7, "name": "bash"}]}, UnsupportedParameter, "tools[0].type"),
        ({"tools": [TOOL, {**TOOL, "mood": 1}]}, UnsupportedParameter, "tools[1].mood"),
        ({"tools": [{"name": "f"}]}, InvalidField, "tools[0].input_schema"),
        ({"tools": ["f"]}, InvalidField, "tools[0]"),
        ({"tool_choice": {"type": "any"}}, InvalidField, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, InvalidField, "tool_choice.name"),
        ({"tool_choice": {"type": "some"}}, UnsupportedParameter, "tool_choice.type"),
        ({"max_tokens": None}, InvalidField, "max_tokens"),
        ({"max_tokens": 0}, InvalidField, "max_tokens"),
        ({"max_tokens": "5"}, InvalidField, "max_tokens"),
        ({"temperature": 1.5}, InvalidField, "temperature"),
        ({"stop_sequences": [""]}, InvalidField, "stop_sequences[0]"),
        ({"messages": []}, InvalidField, "messages"),
        ({"messages": [{"role": "robot", "content": ""}]}, InvalidField, "messages[0].role"),
        ({"messages": [USER, {"role": "assistant", "content": "So"}]}, UnsupportedParameter, "messages[1]"),
        (
            {"messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]},
            UnsupportedParameter,
            "messages[0].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": [text("a"), {"type": "thinking", "thinking": ""}]}]},
            InvalidField,
            "messages[0].content[1]",
        ),
        (
            {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
            UnsupportedParameter,
            "context_management.edits[0].type",
        ),
        (
            {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": 5}]}},
            InvalidField,
            "context_management.edits[0].keep",
        ),
        ({"system": [{"type": "image"}]}, UnsupportedParameter, "system[0].type"),
        ({"thinking": {"type": "deep"}}, InvalidField, "thinking.type"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(
    fields: dict[str, Any], error: type[RequestError], param: str
) -> None:
    with pytest.raises(error) as caught:
        decode(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"metadata":' + b"[" * 100_000])
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedJson):
        anthropic.decode_request(body)
