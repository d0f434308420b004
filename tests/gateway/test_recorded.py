"""Every recorded request of real clients through the gateway: answered in its dialect, streams by the rules."""

import json
from pathlib import Path
from typing import Any

import pytest

from cortex.dialects import anthropic, openai_chat, openai_completions, openai_responses
from cortex.dialects.neutral import ReasoningDelta, TextDelta, ToolCallDelta
from cortex.types import FinishReason
from tests.fakes.neuron import FakeNeuron
from tests.gateway.rig import Rig
from tests.unit.dialects.wire import recorded, rules_of

pytestmark = pytest.mark.anyio
LISTS = {
    "openai_chat": openai_chat.IGNORED_FIELDS,
    "openai_completions": openai_completions.IGNORED_FIELDS,
    "openai_responses": openai_responses.IGNORED_FIELDS,
    "anthropic_messages": anthropic.IGNORED_FIELDS,
    "anthropic_count_tokens": anthropic.IGNORED_FIELDS,
}
CASES = [
    pytest.param(dialect, *case.values, id=f"{dialect}-{case.id}", marks=case.marks)
    for dialect in LISTS
    for case in recorded(dialect)
]
# What a whole answer of each dialect must have.
WHOLE = {
    "openai_chat": ("choices", "usage"),
    "openai_completions": ("choices", "usage"),
    "openai_responses": ("output", "usage"),
    "anthropic_messages": ("content", "usage"),
    "anthropic_count_tokens": ("input_tokens",),
}


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


async def sent(rig: Rig, path: Path, model: str) -> tuple[Any, Any]:
    """The recorded body and the answer to it, with another model in it."""
    case = read(path)
    body = {**case["body"], "model": model}
    headers = {name: value for name, value in case["headers"].items() if name.startswith(("anthropic", "x-"))}
    query = f"?{case['query']}" if case["query"] else ""
    return body, await rig.post(case["path"] + query, json.dumps(body).encode(), headers)


@pytest.mark.parametrize("model", ["alpha", "beta"])
@pytest.mark.parametrize(("dialect", "path"), CASES)
async def test_a_recorded_request_is_answered(rig: Rig, dialect: str, path: Path, model: str) -> None:
    """Loaded or not yet. Two are refused by name: going on from an answer that was never given here, and `suffix`."""
    body, answer = await sent(rig, path, model)
    refused = [name for name in ("previous_response_id", "suffix") if name in body]
    if refused:
        assert (answer.status, answer.error["param"]) == (400, refused[0])
        return
    assert answer.status == 200, answer.body[:500]
    ignored = [name for name in answer.headers.get("x-cortex-ignored", "").split(", ") if name]
    assert all(name in LISTS[dialect] or name.startswith(("tools.", "input.")) for name in ignored)
    if not body.get("stream"):
        assert set(WHOLE[dialect]) <= set(answer.json)
    elif not (body.get("n") or body.get("logprobs") or isinstance(body.get("prompt"), list)):  # what the script has not
        assert rules_of(dialect)(answer.body, body) == []


@pytest.mark.parametrize(
    ("dialect", "path"), [case for case in CASES if "tools" in str(case.id) and "none" not in str(case.id)]
)
async def test_tools_and_thinking_come_back_in_every_dialect(
    rig: Rig, beast: FakeNeuron, dialect: str, path: Path
) -> None:
    if dialect == "anthropic_count_tokens":
        return
    script = beast.script("alpha")
    script.says = (
        ReasoningDelta("Hm."),
        TextDelta("I look."),
        ToolCallDelta(0, "call_1", "look", '{"a":'),
        ToolCallDelta(0, arguments="1}"),
    )
    script.reason = FinishReason.TOOL_CALLS
    body, answer = await sent(rig, path, "alpha")
    assert answer.status == 200
    if body.get("stream"):
        assert rules_of(dialect)(answer.body, {**body, "tool_choice": None}) == []
    for said in ("Hm.", "I look.", "look"):
        assert said.encode() in answer.body


@pytest.mark.parametrize("path", [*recorded("models"), *recorded("probe")])
async def test_recorded_lists_and_probes_are_answered(rig: Rig, path: Path) -> None:
    case = read(path)
    one = case["path"].startswith("/v1/models/")
    target = "/v1/models/alpha" if one else f"{case['path']}?{case['query']}"
    answer = await rig.ask(case["method"], target, case["headers"])
    assert answer.status == 200
    if case["method"] == "HEAD":
        assert answer.body == b""
        return
    entry = answer.json if one else answer.json["data"][0]
    assert entry["id"] == "alpha"
    if "anthropic-version" in case["headers"]:
        assert (entry["type"], entry["lifecycle"], entry["display_name"]) == ("model", "active", "alpha")
    else:
        assert (entry["object"], entry["owned_by"]) == ("model", "cortex")
