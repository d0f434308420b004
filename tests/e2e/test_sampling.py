"""Sampling and structured output through gateway and neuron on the real model, as the SDK's users ask for them."""

import json
import math
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from tests.e2e.conftest import QUESTION, Up

pytestmark = pytest.mark.real
TURNS: Any = [{"role": "user", "content": QUESTION}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "inhabitants": {"type": "integer", "minimum": 1}},
    "required": ["city", "inhabitants"],
    "additionalProperties": False,
}


def chat(client: openai.OpenAI, up: Up, **fields: Any) -> Any:
    return client.chat.completions.create(**{"model": up.model, "messages": TURNS, "max_tokens": 60, **fields})


def ask(up: Up, path: str, body: dict[str, Any]) -> Any:
    raw = json.dumps({"model": up.model, **body}).encode()
    request = urllib.request.Request(f"{up.neuron}{path}", raw, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


@pytest.mark.parametrize("stream", [False, True])
def test_a_strict_schema_holds_also_for_a_hot_small_model(up: Up, openai_client: openai.OpenAI, stream: bool) -> None:
    described = {"name": "capital", "schema": SCHEMA, "strict": True}
    for seed in range(3):
        answer = chat(
            openai_client,
            up,
            response_format={"type": "json_schema", "json_schema": described},
            temperature=1.5,
            seed=seed,
            max_tokens=200,
            stream=stream,
        )
        if stream:
            text = "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)
        else:
            assert answer.choices[0].finish_reason == "stop"
            text = answer.choices[0].message.content
        value = json.loads(text)
        assert set(value) == {"city", "inhabitants"}
        assert isinstance(value["city"], str)
        assert isinstance(value["inhabitants"], int)


def test_a_choice_and_an_expression_and_any_object(up: Up, openai_client: openai.OpenAI) -> None:
    cities = {"structured_outputs": {"choice": ["Rome", "Paris", "Oslo"]}}
    one = chat(openai_client, up, extra_body=cities, temperature=0)
    assert one.choices[0].message.content == "Paris"
    two = chat(openai_client, up, extra_body={"guided_regex": "[A-Z][a-z]{1,12} \\([0-9]{4}\\)"}, temperature=0)
    name, year = two.choices[0].message.content.split(" (")
    assert name.isalpha()
    assert year[:4].isdigit()
    turns = [{"role": "user", "content": "Give a JSON object with the key city."}]
    any_object = {"type": "json_object"}
    three = chat(openai_client, up, messages=turns, response_format=any_object, temperature=0, max_tokens=300)
    assert three.choices[0].finish_reason == "length" or isinstance(json.loads(three.choices[0].message.content), dict)


def test_a_schema_that_is_wrong_is_a_400_that_says_why(up: Up, openai_client: openai.OpenAI) -> None:
    for schema in ({"type": "nothing"}, {"$ref": "https://schemas.example/other"}):
        described = {"name": "x", "schema": schema}
        with pytest.raises(openai.BadRequestError) as failed:
            chat(openai_client, up, response_format={"type": "json_schema", "json_schema": described})
        assert failed.value.param == "response_format"
        assert "response_format" in failed.value.message


def test_choices_differ_and_a_seed_gives_them_again_whatever_else_runs(up: Up, openai_client: openai.OpenAI) -> None:
    counted = ask(up, "/tokenize", {"messages": TURNS})["count"]

    def texts(_: int = 0) -> list[str]:
        answer = chat(openai_client, up, n=4, seed=11, temperature=1.2, max_tokens=24)
        assert answer.usage.prompt_tokens == counted
        return [choice.message.content for choice in answer.choices]

    alone = texts()
    assert len(set(alone)) > 1
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(texts, range(6))) == [alone] * 6


def test_log_probabilities_are_told_whole_and_streamed_alike(up: Up, openai_client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"logprobs": True, "top_logprobs": 3, "temperature": 0}
    choice = chat(openai_client, up, **asked).choices[0]
    whole = choice.logprobs.content
    said = b"".join(bytes(entry.bytes) for entry in whole if entry.bytes)
    assert said.decode() == choice.message.content == "The capital of France is Paris."
    for entry in whole:
        assert len(entry.top_logprobs) == 3
        assert entry.logprob == entry.top_logprobs[0].logprob
        assert sum(math.exp(other.logprob) for other in entry.top_logprobs) <= 1.001
    chunks = [chunk for chunk in chat(openai_client, up, **asked, stream=True) if chunk.choices]
    told = [entry for chunk in chunks if chunk.choices[0].logprobs for entry in chunk.choices[0].logprobs.content]
    assert [(entry.token, entry.logprob) for entry in told] == [(entry.token, entry.logprob) for entry in whole]


def test_a_bias_bans_and_forces(up: Up, openai_client: openai.OpenAI) -> None:
    paris = ask(up, "/tokenize", {"prompt": " Paris", "add_special_tokens": False})["tokens"]
    answer = chat(openai_client, up, temperature=0, logit_bias={str(paris[0]): -100})
    assert " Paris" not in answer.choices[0].message.content
    forced = chat(openai_client, up, temperature=0, max_tokens=3, logit_bias={str(paris[0]): 100})
    assert forced.choices[0].message.content == " Paris Paris Paris"


def score(client: openai.OpenAI, up: Up, context: str, continuation: str, max_tokens: int) -> tuple[float, bool]:
    """The log-likelihood of a continuation and whether it is the greedy one, as evaluation harnesses compute them from
    an echo."""
    before = len(ask(up, "/tokenize", {"prompt": context})["tokens"])
    answer = client.completions.create(
        model=up.model, prompt=context + continuation, echo=True, logprobs=1, max_tokens=max_tokens, temperature=0
    )
    told: Any = answer.choices[0].logprobs
    end = -1 if max_tokens else None
    values = told.token_logprobs[before:end]
    greedy = all(value == max(best.values()) for value, best in zip(values, told.top_logprobs[before:end], strict=True))
    return sum(values), greedy


@pytest.mark.parametrize("max_tokens", [0, 1])
def test_an_echo_scores_continuations(up: Up, openai_client: openai.OpenAI, max_tokens: int) -> None:
    context = "Q: What is the capital of France?\nA: The capital of France is"
    paris, greedy = score(openai_client, up, context, " Paris", max_tokens)
    rome, _ = score(openai_client, up, context, " Rome", max_tokens)
    assert greedy
    assert rome < paris < 0
    again = score(openai_client, up, context, " Paris", max_tokens)
    assert again == (paris, greedy)


def test_an_echo_has_a_place_for_every_token(up: Up, openai_client: openai.OpenAI) -> None:
    prompt = "Ærlig talt: né 🙂 is"
    answer = openai_client.completions.create(model=up.model, prompt=prompt, echo=True, logprobs=2, max_tokens=4)
    choice = answer.choices[0]
    told: Any = choice.logprobs
    assert choice.text.startswith(prompt)
    assert told.token_logprobs[0] is None
    assert len(told.tokens) == answer.usage.total_tokens if answer.usage else 0
    assert told.text_offset == sorted(told.text_offset)
    assert all(len(best) in (2, 3) for best in told.top_logprobs[1:])


def test_usage_counts_are_the_tokenizers(up: Up, openai_client: openai.OpenAI) -> None:
    prompt = "Name three rivers of Europe:"
    answer = openai_client.completions.create(
        model=up.model, prompt=prompt, max_tokens=20, temperature=0, extra_body={"ignore_eos": True}, logprobs=0
    )
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == ask(up, "/tokenize", {"prompt": prompt})["count"]
    assert answer.usage.completion_tokens == len(answer.choices[0].logprobs.tokens or []) == 20  # type: ignore[union-attr]
    counted = ask(up, "/tokenize", {"messages": TURNS})["count"]
    assert chat(openai_client, up, max_tokens=1).usage.prompt_tokens == counted
