"""Inference routes: whole and streamed answers, every field honoured or refused, limits, queues, leaving clients."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cortex.config import AdmissionConfig
from cortex.errors import QueueFull
from tests.fakes.engine import Defaults, Facts, FakeEngines, Script
from tests.neuron.rig import Rig, running

pytestmark = pytest.mark.anyio
TEXT = "The capital of France is Paris."


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as rig:
        assert (await rig.load()).status == 200
        rig.engine().asked.clear()
        yield rig


async def test_a_chat_completion_is_answered_whole(rig: Rig) -> None:
    answer = await rig.chat(temperature=0)
    assert answer.status == 200
    body = answer.json
    assert body["object"] == "chat.completion"
    assert body["model"] == "alpha"
    assert body["choices"][0]["message"] == {"role": "assistant", "content": TEXT}
    assert body["choices"][0]["finish_reason"] == "stop"
    prompt = len("<user>capital of France?")
    assert body["usage"]["prompt_tokens"] == prompt
    assert body["usage"]["completion_tokens"] == 3
    assert body["usage"]["prompt_tokens_details"] == {"cached_tokens": 2}
    assert answer.headers["x-cortex-prompt-tokens"] == str(prompt)


async def test_a_streamed_chat_has_a_chunk_a_token_and_the_usage_asked_for(rig: Rig) -> None:
    answer = await rig.chat(stream=True, stream_options={"include_usage": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.body.endswith(b"data: [DONE]\n\n")
    deltas = [chunk["choices"][0]["delta"] for chunk in answer.chunks if chunk["choices"]]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert [delta["content"] for delta in deltas[1:-1]] == ["The capital", " of France", " is Paris."]
    assert answer.chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert answer.chunks[-1]["usage"]["completion_tokens"] == 3
    assert "usage" not in (await rig.chat(stream=True)).body.decode()


async def test_sampling_fields_reach_the_engine(rig: Rig) -> None:
    given = {"temperature": 0.5, "top_p": 0.9, "top_k": 7, "min_p": 0.1, "seed": -1, "frequency_penalty": 0.3}
    more = {"presence_penalty": 0.2, "repetition_penalty": 1.1, "min_tokens": 2, "ignore_eos": True, "stop": ["x", "y"]}
    assert (await rig.chat(**given, **more, max_tokens=9, max_completion_tokens=8)).status == 200
    asked = rig.engine().asked[0]
    assert {name: getattr(asked, name) for name in ("temperature", "top_p", "top_k", "min_p")} == {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 7,
        "min_p": 0.1,
    }
    assert asked.seed == 2**64 - 1
    assert (asked.frequency_penalty, asked.presence_penalty, asked.repetition_penalty) == (0.3, 0.2, 1.1)
    assert (asked.min_tokens, asked.max_tokens, asked.ignore_eos, asked.stop) == (2, 8, True, ("x", "y"))


async def test_absent_fields_mean_the_publishers_sampling(tmp_path: Path) -> None:
    facts = Facts(defaults=Defaults(temperature=0.6, top_k=20, top_p=0.95, repetition_penalty=1.05))
    async with running(tmp_path, engines=FakeEngines(facts=facts)) as rig:
        await rig.load()
        rig.engine().asked.clear()
        await rig.chat()
        await rig.chat(temperature=0, top_k=0, top_p=0)
    first, second = rig.engine().asked
    assert (first.temperature, first.top_k, first.top_p, first.repetition_penalty) == (0.6, 20, 0.95, 1.05)
    assert (second.temperature, second.top_k) == (0, None)
    assert 0 < second.top_p < 1e-3


async def test_a_publisher_who_says_nothing_gets_a_tail_that_is_cut(rig: Rig) -> None:
    await rig.chat()
    await rig.chat(temperature=1, top_k=-1, top_p=1, min_p=0)
    first, second = rig.engine().asked
    assert (first.temperature, first.top_k, first.top_p, first.min_p) == (0.7, 40, 0.95, 0.05)
    assert (second.temperature, second.top_k, second.top_p, second.min_p) == (1, None, 1, 0)


async def test_an_answer_may_use_what_is_left_of_the_context_and_no_more(rig: Rig) -> None:
    left = 4096 - len("<user>capital of France?")
    await rig.chat()
    await rig.chat(max_tokens=100_000)
    assert [asked.max_tokens for asked in rig.engine().asked] == [left, left]


async def test_a_stop_string_ends_the_answer_and_is_named(rig: Rig) -> None:
    choice = (await rig.chat(stop=" is")).json["choices"][0]
    assert choice["message"]["content"] == "The capital of France"
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", " is")
    choice = (await rig.chat(max_tokens=1)).json["choices"][0]
    assert choice["finish_reason"] == "length"


async def test_all_system_text_is_one_leading_message(rig: Rig) -> None:
    turns = [
        {"role": "user", "content": "a"},
        {"role": "system", "content": "one"},
        {"role": "developer", "content": [{"type": "text", "text": "two"}]},
    ]
    await rig.chat(messages=turns)
    assert rig.engine().rendered[-1]["messages"] == [
        {"role": "system", "content": "one\n\ntwo"},
        {"role": "user", "content": "a"},
    ]


async def test_tool_arguments_are_objects_in_the_template(rig: Rig) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
    ]
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    await rig.chat(messages=turns, tools=[tool], chat_template_kwargs={"enable_thinking": False})
    rendered = rig.engine().rendered[-1]
    assert rendered["messages"][1]["tool_calls"][0]["function"]["arguments"] == {"at": 1}
    assert rendered["messages"][2]["tool_call_id"] == "c1"
    assert rendered["tools"] == [tool]
    assert rendered["enable_thinking"] is False
    await rig.chat(tools=[tool], tool_choice="none")
    assert rig.engine().rendered[-1]["tools"] is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 129}, "n"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": {"one": 2}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias[...]"),
        ({"stop_token_ids": [-1]}, "stop_token_ids[0]"),
        ({"guided_regex": "a", "guided_choice": ["a"]}, "guided_choice"),
        ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag"),
        ({"response_format": {"type": "json_object"}, "guided_json": {}}, "guided_json"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]}, None),
        ({"no_such_field": 1}, "no_such_field"),
        ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs.messages"),
        ({"chat_template_kwargs": {"x": "y" * 20_000}}, "chat_template_kwargs"),
        ({"temperature": 3}, "temperature"),
        ({"stop": [""]}, "stop"),
    ],
)
async def test_what_cannot_be_honoured_is_refused_by_name(rig: Rig, fields: dict[str, Any], param: str | None) -> None:
    answer = await rig.chat(**fields)
    assert answer.status == 400
    assert answer.error["param"] == (param or "messages[0].content")
    assert rig.engine().asked == []


async def test_a_prompt_that_is_too_long_is_refused_with_both_numbers(rig: Rig) -> None:
    answer = await rig.chat(messages=[{"role": "user", "content": "x" * 5000}])
    assert answer.status == 400
    assert answer.error["code"] == "context_length_exceeded"
    assert answer.error["prompt_tokens"] == 5006
    assert answer.error["limit"] == 4095
    assert (await rig.get("/models/alpha"))["in_flight"] == 0


@pytest.mark.parametrize("route", ["chat", "completions"])
async def test_a_prompt_that_is_far_too_long_is_refused_uncounted(rig: Rig, route: str) -> None:
    text = "x" * 50_000
    if route == "chat":
        answer = await rig.chat(messages=[{"role": "user", "content": text}])
    else:
        answer = await rig.complete(prompt=text)
    assert answer.status == 400
    assert answer.error["code"] == "context_length_exceeded"
    assert answer.error["message"].startswith("at least 12")


async def test_a_template_that_refuses_is_422(rig: Rig) -> None:
    answer = await rig.chat(messages=[{"role": "user", "content": "unrenderable"}])
    assert (answer.status, answer.error["code"]) == (422, "template_render_failed")


async def test_texts_and_token_lists_are_completed_in_order(rig: Rig) -> None:
    body = (await rig.complete(prompt=["one ", "two "], n=2, echo=True, seed=5)).json
    assert [choice["text"] for choice in body["choices"]] == [f"one {TEXT}"] * 2 + [f"two {TEXT}"] * 2
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    assert body["usage"]["completion_tokens"] == 12
    assert body["usage"]["prompt_tokens"] == 2 * len("_one ")
    assert sorted(asked.seed or 0 for asked in rig.engine().asked) == [5, 5, 6, 6]
    body = (await rig.complete(prompt=list(b"raw "), echo=True)).json
    assert body["choices"][0]["text"] == f"raw {TEXT}"


async def test_echo_alone_generates_nothing(rig: Rig) -> None:
    body = (await rig.complete(prompt="only this", echo=True, max_tokens=0)).json
    assert body["choices"][0]["text"] == "only this"
    assert body["usage"]["completion_tokens"] == 0
    assert body["usage"]["prompt_tokens"] == 10
    assert rig.engine().asked == []
    assert (await rig.complete(max_tokens=0)).error["param"] == "max_tokens"


async def test_a_streamed_completion_ends_once_all_choices_have(rig: Rig) -> None:
    answer = await rig.complete(n=3, stream=True, stream_options={"include_usage": True})
    assert answer.body.endswith(b"data: [DONE]\n\n")
    texts = ["", "", ""]
    for chunk in answer.chunks:
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == [TEXT] * 3
    assert answer.chunks[-1]["usage"]["completion_tokens"] == 9


async def test_silence_is_filled_with_comments(rig: Rig) -> None:
    rig.engines.script("alpha").gate_at = 1
    async with rig.client.open(
        "POST", rig.neuron.url + "/v1/chat/completions", body=chat_body(stream=True)
    ) as response:
        seen = b""
        async for chunk in response.chunks():
            seen += chunk
            if seen.count(b": keep-alive\n\n") >= 2:
                rig.engine().script.gate.set()
    assert seen.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_cancels_its_sequence(rig: Rig, stream: bool) -> None:
    rig.engines.script("alpha").gate_at = 1
    await ask_and_leave(rig, chat_body(stream=stream))
    await rig.engine().until(lambda: rig.engine().cancelled)
    await idle(rig)
    assert await rig.metric("neuron_requests_total", model="alpha", route="chat", outcome="cancelled") == 1
    assert await rig.metric("neuron_completion_tokens_total", model="alpha") == 1


async def ask_and_leave(rig: Rig, body: bytes) -> None:
    asking = asyncio.ensure_future(rig.ask("POST", "/v1/chat/completions", body))
    await rig.engine().until(lambda: rig.engine().running)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def idle(rig: Rig) -> None:
    model = rig.neuron.host.models.find("alpha")
    await model.idle.wait()
    assert (await rig.get("/health"))["models"][0]["in_flight"] == 0


def chat_body(**fields: Any) -> bytes:
    return msgspec.json.encode({"model": "alpha", "messages": [{"role": "user", "content": "x"}], **fields})


async def test_beyond_its_places_requests_wait_and_beyond_the_queue_they_are_refused(tmp_path: Path) -> None:
    limits = AdmissionConfig(max_in_flight=1, max_queue_depth=1, max_wait_secs=30)
    async with running(tmp_path, admission=limits) as rig:
        await rig.load()
        engine = rig.engine()
        engine.script.gate_at = 0
        first = asyncio.ensure_future(rig.chat())
        await engine.until(lambda: engine.running == 1)
        second = asyncio.ensure_future(rig.chat(stream=True))
        while (await rig.get("/health"))["models"][0]["queue_depth"] == 0:
            pass
        refused = await rig.chat(stream=True)
        assert refused.status == 503
        assert refused.error["code"] == "rate_limit_exceeded"
        assert refused.error["waiting"] == 1
        assert int(refused.headers["retry-after"]) >= 1
        assert (await rig.complete(n=2)).status == 503
        engine.script.gate.set()
        assert (await first).status == (await second).status == 200


async def test_a_wait_for_a_place_has_an_end(tmp_path: Path) -> None:
    limits = AdmissionConfig(max_in_flight=1, max_queue_depth=1, max_wait_secs=0.05)
    async with running(tmp_path, admission=limits) as rig:
        await rig.load()
        engine = rig.engine()
        engine.script.gate_at = 0
        first = asyncio.ensure_future(rig.chat())
        await engine.until(lambda: engine.running == 1)
        refused = await rig.chat()
        assert (refused.status, refused.error["code"]) == (503, "rate_limit_exceeded")
        assert (await rig.get("/health"))["models"][0]["queue_depth"] == 0
        engine.script.gate.set()
        assert (await first).status == 200


@pytest.mark.parametrize("stream", [True, False])
async def test_a_failed_step_is_told_and_counted(rig: Rig, stream: bool) -> None:
    rig.engine().script.fail_at = 1
    answer = await rig.chat(stream=stream)
    if stream:
        assert answer.status == 200
        assert answer.chunks[-1]["error"]["code"] == "engine_failed"
        assert not answer.body.endswith(b"[DONE]\n\n")
    else:
        assert (answer.status, answer.error["code"]) == (500, "engine_failed")
    assert await rig.metric("neuron_requests_total", model="alpha", route="chat", outcome="engine_failed") == 1


async def test_what_the_engine_refuses_is_answered_as_it_says(rig: Rig) -> None:
    rig.engines.scripts["alpha"] = rig.engine().script = Script(refuse=QueueFull("full", retry_after=3.0))
    answer = await rig.chat()
    assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "rate_limit_exceeded", "3")


async def test_tokens_are_counted_as_the_answer_counts_them(rig: Rig) -> None:
    messages = [{"role": "user", "content": "how many?"}]
    counted = await rig.ask("POST", "/tokenize", {"model": "alpha", "messages": messages})
    assert counted.json["count"] == (await rig.chat(messages=messages)).json["usage"]["prompt_tokens"]
    text = (await rig.ask("POST", "/tokenize", {"model": "alpha", "prompt": "ab"})).json
    assert text == {"count": 3, "max_model_len": 4096, "tokens": [1, 97, 98]}
    back = await rig.ask("POST", "/detokenize", {"model": "alpha", "tokens": [97, 98]})
    assert back.json == {"prompt": "ab"}
    assert (await rig.ask("POST", "/tokenize", {"model": "nope", "prompt": "ab"})).status == 404


async def test_management_answers_while_every_place_is_taken(rig: Rig) -> None:
    rig.engine().script.gate_at = 0
    asking = [asyncio.ensure_future(rig.chat()) for _ in range(5)]
    await rig.engine().until(lambda: rig.engine().running == 4)
    for path in ("/health", "/models", "/discovery", "/v1/models", "/version"):
        await rig.get(path)
    assert (await rig.ask("GET", "/metrics")).status == 200
    rig.engine().script.gate.set()
    assert [answer.status for answer in await asyncio.gather(*asking)] == [200] * 5
