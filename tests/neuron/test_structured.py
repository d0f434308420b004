"""Structured output: every way to ask for it reaches the compiler, and what it refuses is a 400 before any byte."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.neuron.rig import Rig, running

pytestmark = pytest.mark.anyio
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as rig:
        assert (await rig.load()).status == 200
        rig.engine().asked.clear()
        yield rig


@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        ({"structured_outputs": {"json": SCHEMA}}, "json_schema", SCHEMA),
        ({"structured_outputs": {"json": json.dumps(SCHEMA)}}, "json_schema", SCHEMA),
        ({"structured_outputs": {"json_object": True}}, "json_schema", {"type": "object"}),
        ({"structured_outputs": {"regex": "[ab]+"}}, "regex", "[ab]+"),
        ({"structured_outputs": {"choice": ["yes", "no"]}}, "choice", ["yes", "no"]),
        ({"structured_outputs": {"grammar": 'start: "a"'}}, "lark", 'start: "a"'),
        ({"guided_json": SCHEMA}, "json_schema", SCHEMA),
        ({"guided_regex": "[ab]+"}, "regex", "[ab]+"),
        ({"guided_choice": ["yes"]}, "choice", ["yes"]),
        ({"guided_grammar": 'start: "a"'}, "lark", 'start: "a"'),
    ],
)
@pytest.mark.parametrize("route", ["chat", "complete"])
async def test_each_spelling_gives_its_grammar(
    rig: Rig, route: str, fields: dict[str, Any], kind: str, text: Any
) -> None:
    assert (await getattr(rig, route)(**fields)).status == 200
    [(made, source)] = rig.engine().compiled
    assert made == kind
    assert (source if kind in ("regex", "lark") else json.loads(source)) == text
    assert rig.engine().asked[0].grammar == (kind, source)


async def test_a_response_format_is_a_schema(rig: Rig) -> None:
    await rig.chat(response_format={"type": "json_object"})
    await rig.chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}, n=2)
    await rig.chat(response_format={"type": "text"})
    assert [json.loads(text) for _, text in rig.engine().compiled] == [{"type": "object"}, SCHEMA]
    assert [bool(asked.grammar) for asked in rig.engine().asked] == [True, True, True, False]


async def test_anthropics_output_format_is_a_schema_too(rig: Rig) -> None:
    turns = [{"role": "user", "content": "x"}]
    body = {
        "model": "alpha",
        "max_tokens": 5,
        "messages": turns,
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
    }
    assert (await rig.ask("POST", "/v1/messages", body)).status == 200
    assert json.loads(rig.engine().compiled[0][1]) == SCHEMA


@pytest.mark.parametrize("stream", [True, False])
async def test_what_the_compiler_refuses_is_a_400_that_names_field_and_reason(rig: Rig, stream: bool) -> None:
    rig.engine().script.refuse_grammar = "the expression never ends"
    for fields, param in (
        ({"guided_regex": "("}, "guided_regex"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ):
        answer = await rig.chat(stream=stream, **fields)
        assert (answer.status, answer.error["param"], answer.error["code"]) == (400, param, "invalid_value")
        assert answer.error["message"].startswith(f"`{param}`: the expression never ends")
    assert rig.engine().asked == []
    assert (await rig.get("/models/alpha"))["in_flight"] == 0
