"""`/v1/responses` with the real model, and a second gateway that has the first one as a server that is not its own."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.conftest import QUESTION, Up
from tests.e2e.daemons import Daemon, free_port
from tests.unit.dialects.wire import rules_of

pytestmark = pytest.mark.real
PARIS = "The capital of France is Paris."
CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}},
    "required": ["city"],
    "additionalProperties": False,
}


def posted(base: str, body: bytes) -> tuple[int, bytes]:
    request = urllib.request.Request(f"{base}/v1/responses", data=body, headers={"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_the_sdk_gets_the_same_text_whole_and_streamed(up: Up, openai_client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": up.model, "input": QUESTION, "temperature": 0, "max_output_tokens": 32}
    whole = openai_client.responses.create(**asked)
    with openai_client.responses.stream(**asked) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert whole.output_text == final.output_text == "".join(deltas) == PARIS
    assert len(deltas) > 3
    assert whole.usage is not None
    assert whole.usage.input_tokens > 20


@pytest.mark.parametrize("stream", [False, True])
def test_a_cut_answer_keeps_the_rules(up: Up, stream: bool) -> None:
    body = {"model": up.model, "input": QUESTION, "temperature": 0, "max_output_tokens": 3, "stream": stream}
    status, answer = posted(up.gateway, json.dumps(body).encode())
    assert status == 200
    if stream:
        assert rules_of("openai_responses")(answer, body) == []
    assert b'"reason":"max_output_tokens"' in answer


def test_a_schema_is_kept_to(up: Up, openai_client: openai.OpenAI) -> None:
    answer = openai_client.responses.create(
        model=up.model,
        input=QUESTION,
        temperature=0,
        max_output_tokens=64,
        text={"format": {"type": "json_schema", "name": "city", "schema": CITY, "strict": True}},
    )
    assert set(json.loads(answer.output_text)) == {"city"}


class Second:
    """A gateway of its own, with a file of answers, in front of the first one."""

    def __init__(self, folder: Path, up: Up) -> None:
        self._folder = folder
        self._port = free_port()
        self.base = f"http://127.0.0.1:{self._port}"
        (folder / "cortex.toml").write_text(
            f"""
            [gateway]
            listen = "127.0.0.1:{self._port}"
            metrics_listen = "127.0.0.1:{free_port()}"
            [responses]
            store = true
            path = "responses.db"
            [[neurons]]
            name = "first"
            kind = "openai"
            endpoint = "{up.gateway}/v1"
            """
        )

    def daemon(self) -> Daemon:
        command = ["cortex.cli.cortex", "serve", "-c", str(self._folder / "cortex.toml")]
        return Daemon(command, self._folder / "log")

    def wait(self, daemon: Daemon) -> None:
        daemon.wait_for(f"{self.base}/v1/models", lambda value: any(entry["loaded"] for entry in value["data"]))


@pytest.fixture
def second(up: Up, tmp_path: Path) -> Second:
    return Second(tmp_path, up)


def test_a_gateway_before_a_gateway_answers_in_every_dialect_and_keeps_answers(up: Up, second: Second) -> None:
    with second.daemon() as daemon, openai.OpenAI(base_url=f"{second.base}/v1", api_key="none", max_retries=0) as gpt:
        second.wait(daemon)
        answer = gpt.responses.create(model=up.model, input=QUESTION, temperature=0, max_output_tokens=32)
        assert answer.output_text == PARIS
        with anthropic.Anthropic(base_url=second.base, api_key="none", max_retries=0) as claude:
            messages: list[Any] = [{"role": "user", "content": QUESTION}]
            asked: dict[str, Any] = {"model": up.model, "max_tokens": 32, "messages": messages}
            with claude.messages.stream(**asked, extra_body={"temperature": 0}) as stream:
                assert "".join(stream.text_stream) == PARIS
            counted = claude.messages.count_tokens(model=up.model, messages=messages)
            assert counted.input_tokens == answer.usage.input_tokens  # type: ignore[union-attr]
            with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: \d+ tokens > \d+ maximum"):
                claude.messages.create(**{**asked, "messages": [{"role": "user", "content": "word " * 20_000}]})
        assert daemon.stop() == 0
    with second.daemon() as daemon, openai.OpenAI(base_url=f"{second.base}/v1", api_key="none", max_retries=0) as gpt:
        second.wait(daemon)
        more = gpt.responses.create(
            model=up.model, input="Say it again.", previous_response_id=answer.id, temperature=0, max_output_tokens=32
        )
        assert more.usage.input_tokens > answer.usage.input_tokens  # type: ignore[union-attr]
        assert daemon.stop() == 0
