"""The unmodified SDKs and plain HTTP against `cortex up` with the real model."""

import json
import subprocess
import sys
import urllib.request

import anthropic
import openai
import pytest

from tests.e2e.conftest import QUESTION, Up

pytestmark = pytest.mark.real


def test_openai_sdk_gets_paris(up: Up) -> None:
    client = openai.OpenAI(base_url=f"{up.gateway}/v1", api_key="none", max_retries=0)
    answer = client.chat.completions.create(
        model=up.model, messages=[{"role": "user", "content": QUESTION}], temperature=0, max_tokens=32
    )
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 20
    assert answer.usage.completion_tokens > 3


def test_openai_sdk_streams_the_same_text(up: Up) -> None:
    client = openai.OpenAI(base_url=f"{up.gateway}/v1", api_key="none", max_retries=0)
    stream = client.chat.completions.create(
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


def test_openai_sdk_completes_text(up: Up) -> None:
    client = openai.OpenAI(base_url=f"{up.gateway}/v1", api_key="none", max_retries=0)
    answer = client.completions.create(model=up.model, prompt="The capital of France is", temperature=0, max_tokens=8)
    assert "Paris" in answer.choices[0].text


def test_anthropic_sdk_gets_paris(up: Up) -> None:
    client = anthropic.Anthropic(base_url=up.gateway, api_key="none", max_retries=0)
    answer = client.messages.create(model=up.model, messages=[{"role": "user", "content": QUESTION}], max_tokens=32)
    block = answer.content[0]
    assert block.type == "text"
    assert answer.stop_reason == "end_turn"
    assert answer.usage.input_tokens > 20


def test_anthropic_sdk_streams(up: Up) -> None:
    client = anthropic.Anthropic(base_url=up.gateway, api_key="none", max_retries=0)
    with client.messages.stream(
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


def test_anthropic_sdk_counts_tokens_as_the_answer_does(up: Up) -> None:
    client = anthropic.Anthropic(base_url=up.gateway, api_key="none", max_retries=0)
    counted = client.messages.count_tokens(model=up.model, messages=[{"role": "user", "content": QUESTION}])
    answer = client.messages.create(model=up.model, messages=[{"role": "user", "content": QUESTION}], max_tokens=1)
    assert counted.input_tokens == answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0)


def test_models_are_listed_in_both_shapes(up: Up) -> None:
    listed = openai.OpenAI(base_url=f"{up.gateway}/v1", api_key="none").models.list()
    assert [model.id for model in listed] == [up.model]
    anthropic_list = anthropic.Anthropic(base_url=up.gateway, api_key="none").models.list()
    assert anthropic_list.data[0].id == up.model


def test_an_unknown_model_is_named_with_its_neighbours(up: Up) -> None:
    client = openai.OpenAI(base_url=f"{up.gateway}/v1", api_key="none", max_retries=0)
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="smollm2-135m", messages=[{"role": "user", "content": "Hi"}])
    assert up.model in str(caught.value)


def test_too_long_a_prompt_is_refused_with_both_numbers(up: Up) -> None:
    client = anthropic.Anthropic(base_url=up.gateway, api_key="none", max_retries=0)
    with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: \d+ tokens > \d+ maximum"):
        client.messages.create(model=up.model, messages=[{"role": "user", "content": "word " * 20_000}], max_tokens=8)


def test_status_shows_the_fleet(up: Up) -> None:
    command = [sys.executable, "-m", "cortex.cli.cortex", "status", "-e", up.gateway]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert up.model in table
    assert "loaded" in table
    data = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert data["hosts"]


def test_metrics_count_what_was_answered(up: Up) -> None:
    client = openai.OpenAI(base_url=f"{up.gateway}/v1", api_key="none", max_retries=0)
    before = metrics(up)
    client.chat.completions.create(
        model=up.model, messages=[{"role": "user", "content": QUESTION}], temperature=0, max_tokens=4
    )
    after = metrics(up)
    assert total(after, "cortex_requests_total") - total(before, "cortex_requests_total") == 1
    assert total(after, "cortex_completion_tokens_total") - total(before, "cortex_completion_tokens_total") == 4


def metrics(up: Up) -> str:
    with urllib.request.urlopen(up.metrics, timeout=5) as response:
        return response.read().decode()


def total(text: str, name: str) -> float:
    return sum(
        float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} "))
    )
