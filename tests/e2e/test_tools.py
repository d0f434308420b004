"""Tool calls through gateway and host with the unmodified SDKs and the real model.

So small a model calls nothing by itself: what must be a call is made one by `tool_choice`, and where the model is free
a grammar has it write the call in its own form.
"""

import json
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.conftest import Up

pytestmark = pytest.mark.real
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: Any = {"type": "function", "function": {"name": "weather", "description": "Forecast", "parameters": SCHEMA}}
CLOCK: Any = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}
ASK: Any = {"role": "user", "content": "How is the weather in Paris?"}
WRITTEN = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_openai_sdk_gets_a_forced_call(up: Up, openai_client: openai.OpenAI, choice: Any) -> None:
    answer = openai_client.chat.completions.create(
        model=up.model, messages=[ASK], tools=[WEATHER], tool_choice=choice, temperature=0, max_tokens=100
    )
    assert answer.choices[0].finish_reason == "tool_calls"
    (call,) = answer.choices[0].message.tool_calls or ()
    assert call.type == "function"
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["city"] in ("Paris", "Rome")
    assert call.id.startswith("call_")


def test_openai_sdk_streams_a_call(up: Up, openai_client: openai.OpenAI) -> None:
    with openai_client.chat.completions.stream(
        model=up.model, messages=[ASK], tools=[WEATHER, CLOCK], tool_choice="required", temperature=0, max_tokens=100
    ) as stream:
        final = stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls or ()
    assert call.function.name in ("weather", "clock")
    assert isinstance(json.loads(call.function.arguments), dict)
    assert final.choices[0].finish_reason == "tool_calls"


def test_anthropic_sdk_streams_a_tool_use(up: Up, anthropic_client: anthropic.Anthropic) -> None:
    with anthropic_client.messages.stream(
        model=up.model,
        messages=[ASK],
        tools=[{"name": "weather", "input_schema": SCHEMA}],
        tool_choice={"type": "any"},
        max_tokens=300,
        extra_body={"temperature": 0},
    ) as stream:
        final = stream.get_final_message()
    (block,) = final.content
    assert block.type == "tool_use"
    assert block.name == "weather"
    assert block.input["city"] in ("Paris", "Rome")  # type: ignore[index]
    assert final.stop_reason == "tool_use"


def test_a_call_that_the_model_writes_is_read(up: Up, openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(
        model=up.model,
        messages=[ASK],
        tools=[WEATHER],
        temperature=0,  # the same tokens every time
        max_tokens=300,
        extra_body={"structured_outputs": {"choice": [f"I look.\n{WRITTEN}\n{WRITTEN}"]}},
    )
    message = answer.choices[0].message
    assert message.content == "I look."
    assert [call.function.arguments for call in message.tool_calls or ()] == ['{"city": "Paris"}'] * 2  # type: ignore[union-attr]
    assert answer.choices[0].finish_reason == "tool_calls"


def test_only_one_call_where_they_must_not_be_parallel(up: Up, openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(
        model=up.model,
        messages=[ASK],
        tools=[WEATHER],
        parallel_tool_calls=False,
        temperature=0,  # the same tokens every time
        max_tokens=300,
        extra_body={"structured_outputs": {"choice": [f"{WRITTEN}\n{WRITTEN}"]}},
    )
    assert len(answer.choices[0].message.tool_calls or ()) == 1


def test_openai_agent_loop_ends_with_an_answer(up: Up, openai_client: openai.OpenAI) -> None:
    """Call, result, answer; the calls go back as the SDK gave them."""
    messages: list[Any] = [ASK]
    answer = openai_client.chat.completions.create(
        model=up.model, messages=messages, tools=[WEATHER], tool_choice="required", temperature=0, max_tokens=100
    )
    message = answer.choices[0].message
    messages.append(message.model_dump(exclude_none=True))
    calls = message.tool_calls or ()
    messages.extend({"role": "tool", "tool_call_id": call.id, "content": "Sunny, 21 degrees."} for call in calls)
    answer = openai_client.chat.completions.create(
        model=up.model, messages=messages, tools=[WEATHER], tool_choice="none", temperature=0, max_tokens=40
    )
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")


def test_anthropic_agent_loop_ends_with_an_answer(up: Up, anthropic_client: anthropic.Anthropic) -> None:
    tools: Any = [{"name": "weather", "input_schema": SCHEMA}]
    messages: list[Any] = [ASK]
    first = anthropic_client.messages.create(
        model=up.model,
        messages=messages,
        tools=tools,
        tool_choice={"type": "tool", "name": "weather"},
        max_tokens=300,
        extra_body={"temperature": 0},
    )
    messages.append({"role": "assistant", "content": first.content})
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "Sunny, 21 degrees."}
        for block in first.content
        if block.type == "tool_use"
    ]
    messages.append({"role": "user", "content": results})
    last = anthropic_client.messages.create(model=up.model, messages=messages, tools=tools, max_tokens=40)
    assert last.content
    assert last.stop_reason in ("end_turn", "max_tokens", "tool_use")
