"""Embeddings on the host: every form of input, both formats, limits with numbers, kinds of models, leaving clients."""

import asyncio
import base64
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cortex.config import AdmissionConfig
from cortex.errors import InvalidField
from tests.fakes.engine import Facts, FakeEngines
from tests.neuron.rig import Answer, Rig, running

pytestmark = pytest.mark.anyio
EMBEDDER = Facts(kind="embed", dimensions=4, context_length=16, has_chat_template=False)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path, engines=FakeEngines(facts=EMBEDDER)) as rig:
        assert (await rig.load()).status == 200
        rig.engine().embedded.clear()
        yield rig


async def embed(rig: Rig, given: Any = "hi", **fields: Any) -> Answer:
    return await rig.ask("POST", "/v1/embeddings", {"model": "alpha", "input": given, **fields})


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ("hi", [[1, 104, 105]]),  # the fake puts a 1 before a text
        (["hi", ""], [[1, 104, 105], [1]]),
        ([7, 8], [[7, 8]]),
        ([[7, 8], [9]], [[7, 8], [9]]),
    ],
)
async def test_texts_get_the_models_own_tokens_and_ids_are_used_as_they_are(
    rig: Rig, given: Any, texts: list[list[int]]
) -> None:
    answer = await embed(rig, given)
    assert answer.status == 200
    assert rig.engine().embedded == [texts]
    body = answer.json
    assert (body["object"], body["model"]) == ("list", "alpha")
    count = sum(map(len, texts))
    assert body["usage"] == {"prompt_tokens": count, "total_tokens": count}
    assert [item["index"] for item in body["data"]] == list(range(len(texts)))
    assert [item["embedding"] for item in body["data"]] == [[len(text), 0, 0, 0] for text in texts]


async def test_both_formats_hold_the_same_numbers_and_dimensions_are_honoured(rig: Rig) -> None:
    packed = (await embed(rig, encoding_format="base64", dimensions=3)).json["data"][0]["embedding"]
    plain = (await embed(rig, encoding_format="float", dimensions=3)).json["data"][0]["embedding"]
    assert list(struct.unpack("<3f", base64.b64decode(packed))) == plain == [3, 0, 0]


async def test_many_texts_come_back_in_order(rig: Rig) -> None:
    given = ["x" * (index % 10) for index in range(200)]
    data = (await embed(rig, given)).json["data"]
    assert [item["embedding"][0] for item in data] == [index % 10 + 1 for index in range(200)]


async def test_too_long_a_text_is_refused_with_its_place_and_numbers(rig: Rig) -> None:
    answer = await embed(rig, ["fine", "x" * 500])
    assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
    assert (answer.error["input"], answer.error["limit"]) == (1, 16)
    assert answer.error["prompt_tokens"] > 16
    assert answer.error["message"].startswith("Input 1: ")


@pytest.mark.parametrize(
    ("fields", "param"), [({"input": []}, "input"), ({"dimensions": 0}, "dimensions"), ({"best_of": 2}, "best_of")]
)
async def test_what_is_wrong_is_refused_by_name(rig: Rig, fields: dict[str, Any], param: str) -> None:
    answer = await rig.ask("POST", "/v1/embeddings", {"model": "alpha", "input": "hi", **fields})
    assert (answer.status, answer.error["param"]) == (400, param)


async def test_what_the_engine_refuses_is_told(rig: Rig) -> None:
    rig.engine().script.refuse = InvalidField("dimensions: 9 is not between 1 and 4", param="dimensions")
    answer = await embed(rig, dimensions=9)
    assert (answer.status, answer.error["param"]) == (400, "dimensions")


async def test_a_field_without_meaning_is_named(rig: Rig) -> None:
    assert (await embed(rig, user="me")).headers["x-cortex-ignored"] == "user"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"])
async def test_an_embedder_generates_nothing_and_says_where_to_ask(rig: Rig, path: str) -> None:
    chat = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
    more = {"/v1/completions": {"prompt": "hi"}, "/v1/responses": {"input": "hi"}}.get(path, chat)
    answer = await rig.ask("POST", path, {"model": "alpha", **more})
    assert answer.status == 400
    assert "/v1/embeddings" in answer.error["message"]


async def test_a_chat_is_not_counted_by_an_embedder(rig: Rig) -> None:
    body = {"model": "alpha", "messages": [{"role": "user", "content": "hi"}]}
    assert "/v1/embeddings" in (await rig.ask("POST", "/v1/messages/count_tokens", body)).error["message"]
    counted = await rig.ask("POST", "/tokenize", {"model": "alpha", "prompt": "hi"})
    assert counted.json["count"] == 3


async def test_a_generating_model_makes_no_embeddings(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        await rig.load()
        answer = await embed(rig)
        assert (answer.status, answer.error["param"]) == (400, "model")
        assert "generates text" in answer.error["message"]


async def test_lists_of_models_say_what_it_is_for(rig: Rig) -> None:
    entry = await rig.get("/models/alpha")
    assert (entry["capabilities"], entry["context_length"], entry["max_input_tokens"]) == (["embeddings"], 16, 16)
    assert (await rig.get("/v1/models"))["data"][0]["capabilities"] == ["embeddings"]


async def test_every_ending_is_metered_once(rig: Rig) -> None:
    await embed(rig, ["hi", "you"])
    await embed(rig, [])
    assert await rig.metric("neuron_requests_total", model="alpha", route="embeddings", outcome="ok") == 1
    assert await rig.metric("neuron_prompt_tokens_total", model="alpha") == 7
    refused = {"model": "unknown", "route": "embeddings", "outcome": "invalid_value"}
    assert await rig.metric("neuron_requests_total", **refused) == 1


async def test_a_client_that_leaves_frees_the_engine_and_the_lease(rig: Rig) -> None:
    engine = rig.engine()
    engine.script.gate_at = 0
    asking = asyncio.ensure_future(embed(rig))
    await engine.until(lambda: engine.running)
    asking.cancel()
    await engine.until(lambda: engine.cancelled == 1)
    assert (await rig.unload()).status == 200


async def test_requests_wait_for_a_place_and_are_refused_when_too_many_do(tmp_path: Path) -> None:
    admission = AdmissionConfig(max_in_flight=1, max_queue_depth=1, max_wait_secs=20)
    async with running(tmp_path, engines=FakeEngines(facts=EMBEDDER), admission=admission) as rig:
        await rig.load()
        engine = rig.engine()
        engine.script.gate_at = 0
        first = asyncio.ensure_future(embed(rig))
        await engine.until(lambda: engine.running)
        second = asyncio.ensure_future(embed(rig))
        serving = rig.neuron.host.models.serving("alpha")[1]
        while not serving.admission.waiting:
            await rig.get("/health")
        full = await embed(rig)
        assert (full.status, full.error["code"]) == (503, "rate_limit_exceeded")
        assert "retry-after" in full.headers
        engine.script.gate.set()
        assert [(await first).status, (await second).status] == [200, 200]


async def test_what_does_not_finish_within_the_drain_is_told_so(tmp_path: Path) -> None:
    async with running(tmp_path, engines=FakeEngines(facts=EMBEDDER), drain_secs=0.05) as rig:
        await rig.load()
        engine = rig.engine()
        engine.script.gate_at = 0
        asking = asyncio.ensure_future(embed(rig))
        await engine.until(lambda: engine.running)
        await rig.neuron.stop()
        answer = await asking
        assert (answer.status, answer.error["code"]) == (503, "shutting_down")
        assert engine.cancelled == 1
        assert engine.closed
