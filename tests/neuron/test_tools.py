"""Tool calls and thinking on the host: how they are asked for, and how they come out in each dialect."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cortex.dialects.neutral import ChatRequest, Message, Tool
from cortex.neuron.calling import call_structure
from tests.fakes.engine import Facts, FakeEngines, Template
from tests.neuron.rig import Answer, Rig, running
from tests.unit.dialects.wire import rules_of

pytestmark = pytest.mark.anyio
LOOK = {"name": "look", "description": "d", "parameters": {"type": "object", "properties": {"at": {"type": "integer"}}}}
TOOLS = [{"type": "function", "function": LOOK}, {"type": "function", "function": {"name": "now"}}]
ANTHROPIC_TOOLS = [{"name": "look", "input_schema": LOOK["parameters"]}, {"name": "now", "input_schema": {}}]
PARTS = (
    (("reasoning", None, "I must"),),
    (("reasoning", None, " look."),),
    (),
    (("text", None, "Let me see."),),
    (("call", 0, "look"), ("arguments", 0, '{"at"')),
    (("arguments", 0, ": 1}"),),
    (("call", 1, "now"), ("arguments", 1, "{}")),
)
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
ROUND = [
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "I look.", "reasoning_content": "so", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "42"},
    {"role": "tool", "tool_call_id": "c1", "content": "43"},
]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    engines = FakeEngines(facts=Facts(thinks=True))
    async with running(tmp_path, engines=engines) as rig:
        assert (await rig.load()).status == 200
        rig.engine().asked.clear()
        rig.engine().script.parts = PARTS
        rig.engine().script.thought_tokens = 3
        yield rig


async def messages(rig: Rig, **fields: Any) -> Answer:
    body = {"model": "alpha", "max_tokens": 64, "messages": [{"role": "user", "content": "a"}], **fields}
    return await rig.ask("POST", "/v1/messages", body)


async def test_a_whole_chat_answer_has_its_parts(rig: Rig) -> None:
    answer = (await rig.chat(tools=TOOLS)).json
    choice = answer["choices"][0]
    message = choice["message"]
    assert choice["finish_reason"] == "tool_calls"
    assert (message["reasoning_content"], message["content"]) == ("I must look.", "Let me see.")
    calls = message["tool_calls"]
    assert [call["function"] for call in calls] == [
        {"name": "look", "arguments": '{"at": 1}'},
        {"name": "now", "arguments": "{}"},
    ]
    assert all(call["id"].startswith("call_") for call in calls)
    assert len({call["id"] for call in calls}) == 2
    assert answer["usage"]["completion_tokens"] == len(PARTS)
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 3


async def test_a_streamed_chat_answer_keeps_the_rules_of_its_dialect(rig: Rig) -> None:
    request = {"model": "alpha", "stream": True, "tools": TOOLS, "messages": ROUND}
    answer = await rig.ask("POST", "/v1/chat/completions", request)
    assert rules_of("openai_chat")(answer.body, request) == []
    deltas = [chunk["choices"][0]["delta"] for chunk in answer.chunks]
    arguments = [
        call["function"]["arguments"] for delta in deltas for call in delta.get("tool_calls", ()) if call["index"] == 0
    ]
    assert len(arguments) > 1
    assert json.loads("".join(arguments)) == {"at": 1}


async def test_messages_have_thinking_text_and_tool_use(rig: Rig) -> None:
    answer = (await messages(rig, tools=ANTHROPIC_TOOLS)).json
    thinking, text, look, now = answer["content"]
    assert (thinking["thinking"], text["text"]) == ("I must look.", "Let me see.")
    assert thinking["signature"]
    assert (look["name"], look["input"], now["input"]) == ("look", {"at": 1}, {})
    assert look["id"].startswith("toolu_")
    assert answer["stop_reason"] == "tool_use"
    stream = await messages(rig, tools=ANTHROPIC_TOOLS, stream=True)
    assert rules_of("anthropic_messages")(stream.body) == []


async def test_the_engine_is_told_of_the_tools(rig: Rig) -> None:
    async def parsing(**fields: Any) -> Any:
        await rig.chat(**fields)
        return json.loads(rig.engine().asked[-1].parsing or b"")

    assert await parsing() == {"tools": [], "single": False, "forced": False}
    told = await parsing(tools=TOOLS, parallel_tool_calls=False)
    assert told["tools"] == [
        {"name": "look", "parameters": LOOK["parameters"]},
        {"name": "now", "parameters": {}},
    ]
    assert (told["single"], told["forced"]) == (True, False)
    assert (await parsing(tools=TOOLS, tool_choice="none"))["tools"] == []
    assert rig.engine().compiled == []
    await rig.complete()
    assert rig.engine().asked[-1].parsing is None


@pytest.mark.parametrize(
    ("choice", "names"),
    [("required", ["look", "now"]), ({"type": "function", "function": {"name": "now"}}, ["now"])],
)
async def test_a_forced_call_has_a_grammar(rig: Rig, choice: Any, names: list[str]) -> None:
    await rig.chat(tools=TOOLS, tool_choice=choice)
    kind, text = rig.engine().compiled[-1]
    schema = json.loads(text)
    assert kind == "json_schema"
    shown = schema.get("anyOf", [schema])
    assert [one["properties"]["name"]["const"] for one in shown] == names
    assert json.loads(rig.engine().asked[-1].parsing or b"")["forced"] is True
    assert rig.engine().asked[-1].grammar == rig.engine().compiled[-1]


async def test_a_schema_that_no_grammar_has_leaves_the_arguments_free(rig: Rig) -> None:
    rig.engine().script.refuse_grammar = "pattern"
    rig.engine().script.refuse_once = True
    answer = await rig.chat(tools=TOOLS, tool_choice="required")
    assert answer.status == 200
    strict, loose = [json.loads(text)["anyOf"][0]["properties"]["arguments"] for _, text in rig.engine().compiled]
    assert strict == {"type": "object", **LOOK["parameters"]}  # type: ignore[dict-item]
    assert loose == {"type": "object"}


def test_definitions_of_several_tools_do_not_meet() -> None:
    def tool(name: str, kind: str) -> Tool:
        return Tool(name=name, parameters={"properties": {"a": {"$ref": "#/$defs/X"}}, "$defs": {"X": {"type": kind}}})

    asked = ChatRequest(
        model="m",
        messages=(Message(role="user", content="a"),),
        tools=(tool("f", "string"), tool("g", "integer")),
        tool_choice="required",
    )
    schema = json.loads(call_structure(asked).text)
    refs = [one["properties"]["arguments"]["properties"]["a"]["$ref"] for one in schema["anyOf"]]
    kinds = [schema["$defs"][ref.removeprefix("#/$defs/")]["type"] for ref in refs]
    assert kinds == ["string", "integer"]


async def test_a_template_that_shows_no_tools_is_told_of_them_in_text(tmp_path: Path) -> None:
    engines = FakeEngines()
    engines.template = Template(shows_tools=False)
    async with running(tmp_path, engines=engines) as rig:
        await rig.load()
        answer = await rig.chat(messages=[{"role": "system", "content": "be brief"}, *ROUND], tools=TOOLS)
        assert "x-cortex-ignored" not in answer.headers
        rendered = rig.engine().rendered[-1]
        assert rendered["tools"] is None
        system, user, called, result = rendered["messages"]
        assert system["content"].startswith("be brief\n\n")
        assert '{"name":"look","description":"d","parameters":' in system["content"]
        assert user["content"] == "a"
        text = 'I look.\n<tool_call>\n{"name":"look","arguments":{"at":1}}\n</tool_call>'
        assert (called["content"], "tool_calls" in called) == (text, False)
        assert result["role"] == "user"
        assert result["content"].count("<tool_response>") == 2


async def test_a_template_without_system_text_gets_it_before_the_first_turn(tmp_path: Path) -> None:
    engines = FakeEngines()
    engines.template = Template(takes_system=False)
    async with running(tmp_path, engines=engines) as rig:
        await rig.load()
        turns = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "a"}]
        assert (await rig.chat(messages=turns)).status == 200
        assert rig.engine().rendered[-1]["messages"] == [{"role": "user", "content": "be brief\n\na"}]


async def test_ids_of_calls_are_as_short_as_the_template_wants_them(tmp_path: Path) -> None:
    engines = FakeEngines(facts=Facts(tool_format="Mistral"))
    async with running(tmp_path, engines=engines) as rig:
        await rig.load()
        await rig.chat(messages=ROUND, tools=TOOLS)
        _, called, result, _ = rig.engine().rendered[-1]["messages"]
        assert len(called["tool_calls"][0]["id"]) == 9
        assert called["tool_calls"][0]["id"] == result["tool_call_id"]


async def test_thinking_is_switched_where_there_is_a_switch(tmp_path: Path) -> None:
    engines = FakeEngines(facts=Facts(thinks=True))
    engines.template = Template(switches=("thinking", "reasoning_effort"))
    async with running(tmp_path, engines=engines) as rig:
        await rig.load()
        answer = await rig.chat(reasoning_effort="xhigh", chat_template_kwargs={"enable_thinking": True})
        assert "x-cortex-ignored" not in answer.headers
        rendered = rig.engine().rendered[-1]
        assert (rendered["thinking"], rendered["reasoning_effort"]) == (True, "high")
        await messages(rig, thinking={"type": "disabled"})
        assert rig.engine().rendered[-1]["thinking"] is False
        await rig.chat(tools=TOOLS, tool_choice="required")
        assert rig.engine().rendered[-1]["thinking"] is False


async def test_wishes_about_thinking_that_cannot_be_met_are_named(rig: Rig) -> None:
    answer = await rig.chat(reasoning_effort="none")
    assert answer.headers["x-cortex-ignored"] == "thinking"
    answer = await rig.chat(reasoning_effort="low")
    assert answer.headers["x-cortex-ignored"] == "reasoning_effort"
    answer = await messages(rig, thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2048)
    assert answer.headers["x-cortex-ignored"] == "thinking.budget_tokens"


async def test_a_model_says_what_it_can(rig: Rig) -> None:
    assert (await rig.get("/models/alpha"))["capabilities"] == ["text", "tools", "reasoning", "structured"]
