"""The unmodified SDKs and plain HTTP against `cortex up` with the real model."""

import http.client
import json
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import closing

import anthropic
import openai
import pytest

from tests.e2e.conftest import QUESTION, Up

pytestmark = pytest.mark.real


def test_openai_sdk_gets_paris(up: Up, openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(
        model=up.model, messages=[{"role": "user", "content": QUESTION}], temperature=0, max_tokens=32
    )
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 20
    assert answer.usage.completion_tokens > 3


def test_openai_sdk_streams_the_same_text(up: Up, openai_client: openai.OpenAI) -> None:
    stream = openai_client.chat.completions.create(
        model=up.model,
        messages=[{"role": "user", "content": QUESTION}],
        temperature=0,
        max_tokens=32,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "The capital of France is Paris."
    assert sum(1 for chunk in chunks if chunk.choices and chunk.choices[0].delta.content) > 3
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 3


def test_openai_sdk_completes_text(up: Up, openai_client: openai.OpenAI) -> None:
    answer = openai_client.completions.create(
        model=up.model, prompt="The capital of France is", temperature=0, max_tokens=8
    )
    assert "Paris" in answer.choices[0].text


def test_anthropic_sdk_gets_paris(up: Up, anthropic_client: anthropic.Anthropic) -> None:
    answer = anthropic_client.messages.create(
        model=up.model,
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=32,
        extra_body={"temperature": 0},
    )
    block = answer.content[0]
    assert block.type == "text"
    assert "Paris" in block.text
    assert answer.stop_reason == "end_turn"
    assert answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0) > 20


def test_anthropic_sdk_streams(up: Up, anthropic_client: anthropic.Anthropic) -> None:
    with anthropic_client.messages.stream(
        model=up.model,
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=32,
        extra_body={"temperature": 0},
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == "The capital of France is Paris."
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens > 3


def test_anthropic_sdk_counts_tokens_as_the_answer_does(up: Up, anthropic_client: anthropic.Anthropic) -> None:
    counted = anthropic_client.messages.count_tokens(model=up.model, messages=[{"role": "user", "content": QUESTION}])
    answer = anthropic_client.messages.create(
        model=up.model, messages=[{"role": "user", "content": QUESTION}], max_tokens=1
    )
    assert counted.input_tokens == answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0)


def test_models_are_listed_in_both_shapes(
    up: Up, openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
) -> None:
    assert [model.id for model in openai_client.models.list()] == [up.model]
    assert anthropic_client.models.list().data[0].id == up.model


def test_an_unknown_model_is_named_with_its_neighbours(up: Up, openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        openai_client.chat.completions.create(model="smollm2-135m", messages=[{"role": "user", "content": "Hi"}])
    assert up.model in str(caught.value)


def test_too_long_a_prompt_is_refused_with_both_numbers(up: Up, anthropic_client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: \d+ tokens > \d+ maximum"):
        anthropic_client.messages.create(
            model=up.model, messages=[{"role": "user", "content": "word " * 20_000}], max_tokens=8
        )


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/messages"])
def test_malformed_json_is_a_400_in_every_dialect(up: Up, path: str) -> None:
    status, error = post(up, path, b'{"model": "x", ')
    assert (status, "JSON" in error["message"]) == (400, True)


def test_a_wrong_type_is_named(up: Up) -> None:
    body = {"model": up.model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": "many"}
    status, error = post(up, "/v1/chat/completions", json.dumps(body).encode())
    assert (status, "max_tokens" in error["message"]) == (400, True)


def test_an_oversized_body_is_refused(up: Up) -> None:
    host, port = up.gateway.removeprefix("http://").split(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=30)) as connection:
        connection.putrequest("POST", "/v1/chat/completions")
        connection.putheader("content-type", "application/json")
        connection.putheader("content-length", str(1 << 30))
        connection.endheaders()  # and no body: what is announced is refused before it is read
        assert connection.getresponse().status == 413


def test_a_wrong_method_is_told_the_right_one(up: Up) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{up.gateway}/v1/chat/completions", timeout=5)
    with caught.value as answer:
        assert (answer.code, answer.headers["allow"]) == (405, "POST")


def test_status_shows_the_fleet(up: Up) -> None:
    command = [sys.executable, "-m", "cortex.cli.cortex", "status", "-e", up.gateway]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert up.model in table
    assert "loaded" in table
    data = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert data["hosts"]


def test_metrics_count_what_was_answered(up: Up, openai_client: openai.OpenAI) -> None:
    before = metrics(up)
    openai_client.chat.completions.create(
        model=up.model, messages=[{"role": "user", "content": QUESTION}], temperature=0, max_tokens=4
    )
    after = metrics(up)
    assert total(after, "cortex_requests_total") - total(before, "cortex_requests_total") == 1
    assert total(after, "cortex_completion_tokens_total") - total(before, "cortex_completion_tokens_total") == 4


def post(up: Up, path: str, body: bytes) -> tuple[int, dict[str, str]]:
    """Status and error object of a request that must fail."""
    request = urllib.request.Request(up.gateway + path, body, {"content-type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    with caught.value as answer:
        return answer.code, json.load(answer)["error"]


def metrics(up: Up) -> str:
    with urllib.request.urlopen(up.metrics, timeout=5) as response:
        return response.read().decode()


def total(text: str, name: str) -> float:
    return sum(
        float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} "))
    )
