"""Every form of tool calls, streamed and whole, in both dialects, through a gateway and a host with a real engine.

A tiny model with a template of each form is made to write an answer in that form; whether it calls is left to it.
"""

import json
import shutil
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from cortex.config import GatewayConfig, GatewaySection, ModelsConfig, NeuronConfig, NeuronPeer
from cortex.config.source import gateway_files
from cortex.dialects.sse import SseParser
from cortex.engine import EngineSampling
from cortex.gateway.app import Gateway
from cortex.http import UpstreamClient
from cortex.neuron.app import Neuron
from cortex.neuron.engines import Engine, Event, LoadPlan
from cortex.neuron.native import NativeEngines
from cortex.neuron.progress import Progress
from tests.gateway.rig import CHAT, MESSAGES, Rig
from tests.unit.dialects.wire import rules_of

pytestmark = pytest.mark.anyio
RUST = Path(__file__).parents[2] / "rust"
MODEL = RUST / "engine/tests/data/models/llama"
FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
TEMPLATE = (
    "{% for t in tools or [] %}{{ t.function.name }}{% endfor %}"
    "{% for m in messages %}<|user|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"
)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
NAMES = ("get", "now")
OPENAI: list[Any] = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in NAMES]
ANTHROPIC: list[Any] = [{"name": name, "input_schema": SCHEMA} for name in NAMES]
Calls = list[tuple[str, Any]]


def forms() -> list[Any]:
    """For each form what in a template tells it, an answer, and its calls."""
    cases = json.loads((RUST / "text/tests/data/calls.json").read_text())
    first = {marks: (answer, calls) for marks, answer, calls in reversed(cases) if calls}
    return [pytest.param(marks, *case, id=marks) for marks, case in first.items()]


class Writer:
    """An engine whose model writes what it is told, by a grammar; all else is the engine's own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._grammar: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def write(self, answer: str) -> None:
        self._grammar = await self._engine.compile("choice", json.dumps([answer]))

    def generate(self, prompt: Any, sampling: EngineSampling) -> AsyncGenerator[Event, None]:
        if self._grammar is not None:
            sampling = msgspec.structs.replace(sampling, grammar=self._grammar)
        return self._engine.generate(prompt, sampling)


class Writers(NativeEngines):
    """Makes such engines; the last one is `made`."""

    made: Writer

    async def load(self, plan: LoadPlan, progress: Progress) -> Engine:
        self.made = Writer(await super().load(plan, progress))
        return cast("Engine", self.made)


@asynccontextmanager
async def writing(folder: Path, marks: str, answer: str) -> AsyncIterator[Rig]:
    """A gateway before a host with one model, whose template has these marks, and which writes this answer."""
    for name in FILES:
        shutil.copy(MODEL / name, folder / name)
    (folder / "chat_template.jinja").write_text(f"{{# {marks} #}}{TEMPLATE}")
    engines = Writers()
    neuron = Neuron(NeuronConfig(host="127.0.0.1", port=0, drain_secs=0.2), {"HOME": str(folder)}, engines=engines)
    await neuron.start()
    section = GatewaySection(listen="127.0.0.1:0", metrics_listen="127.0.0.1:0", poll_secs=0.1, drain_secs=0.1)
    config = GatewayConfig(gateway=section, neurons=(NeuronPeer(name="beast", endpoint=neuron.url),))
    gateway = Gateway(gateway_files(config, ModelsConfig(), {}))
    await gateway.start()
    try:
        async with UpstreamClient() as client:
            asked = {"model_id": "alpha", "source": str(folder), "context_length": 512}
            body = msgspec.json.encode(asked)
            async with client.open("POST", f"{neuron.url}/models/load", body=body) as response:
                assert response.status == 200, await response.read(1 << 16)
            await engines.made.write(answer)
            front = Rig(gateway, client)
            await front.sees_loaded("beast", "alpha")
            yield front
    finally:
        await gateway.stop()
        await neuron.stop()


def body(tools: list[Any], **more: Any) -> dict[str, Any]:
    return {"model": "alpha", "messages": [{"role": "user", "content": "?"}], "tools": tools, "max_tokens": 480, **more}


def events(stream: bytes) -> list[Any]:
    return [msgspec.json.decode(event.data) for event in SseParser().feed(stream) if event.data != b"[DONE]"]


def openai_calls(stream: bytes) -> Calls:
    """The calls of a stream, and that it ended with them."""
    names: list[str] = []
    arguments: list[str] = []
    reasons = []
    for chunk in events(stream):
        for choice in chunk["choices"]:
            reasons.append(choice["finish_reason"])
            for call in choice["delta"].get("tool_calls", ()):
                if call["function"].get("name"):
                    names.append(call["function"]["name"])
                    arguments.append("")
                arguments[call["index"]] += call["function"].get("arguments", "")
    assert [reason for reason in reasons if reason] == ["tool_calls"]
    return list(zip(names, map(json.loads, arguments), strict=True))


def anthropic_calls(stream: bytes) -> Calls:
    """The same of a stream of messages."""
    names: dict[int, str] = {}
    inputs: dict[int, str] = {}
    reasons = []
    for event in events(stream):
        if event["type"] == "content_block_start" and event["content_block"]["type"] == "tool_use":
            names[event["index"]] = event["content_block"]["name"]
            inputs[event["index"]] = ""
        elif event["type"] == "content_block_delta" and event["delta"]["type"] == "input_json_delta":
            inputs[event["index"]] += event["delta"]["partial_json"]
        elif event["type"] == "message_delta":
            reasons.append(event["delta"]["stop_reason"])
    assert reasons == ["tool_use"]
    return [(names[index], json.loads(inputs[index] or "{}")) for index in names]


@pytest.mark.parametrize(("marks", "answer", "calls"), forms())
async def test_calls_of_each_form_reach_clients_of_both_dialects(
    tmp_path: Path, marks: str, answer: str, calls: list[list[str]]
) -> None:
    expected = [(name, json.loads(arguments)) for name, arguments in calls]
    async with writing(tmp_path, marks, answer) as front:
        whole = (await front.post(CHAT, body(OPENAI, tool_choice="auto"))).json["choices"][0]
        functions = [call["function"] for call in whole["message"]["tool_calls"]]
        assert [(one["name"], json.loads(one["arguments"])) for one in functions] == expected
        assert whole["finish_reason"] == "tool_calls"
        streamed = await front.post(CHAT, body(OPENAI, stream=True))
        assert openai_calls(streamed.body) == expected
        message = (await front.post(MESSAGES, body(ANTHROPIC, tool_choice={"type": "auto"}))).json
        used = [block for block in message["content"] if block["type"] == "tool_use"]
        assert [(block["name"], block["input"]) for block in used] == expected
        assert message["stop_reason"] == "tool_use"
        streamed = await front.post(MESSAGES, body(ANTHROPIC, stream=True))
        assert anthropic_calls(streamed.body) == expected
        assert rules_of("anthropic_messages")(streamed.body) == []
