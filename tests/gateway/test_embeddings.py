"""Embeddings through the gateway: bytes untouched, cold loads, metering, errors in words that clients act on."""

import pytest

from cortex.errors import ContextLengthExceeded
from tests.fakes.neuron import FakeNeuron
from tests.gateway.rig import EMBEDDINGS, Rig

pytestmark = pytest.mark.anyio


async def test_body_and_answer_pass_untouched(rig: Rig, beast: FakeNeuron) -> None:
    body = b'{ "input" : ["gr\xc3\xbc\xc3\x9fe", "\\u00fc"],"encoding_format":"base64", "model":"alpha"}\n'
    answer = await rig.post(EMBEDDINGS, body)
    assert answer.status == 200
    assert beast.bodies == [body]
    async with rig.client.open("POST", beast.endpoint + EMBEDDINGS, body=body) as response:
        assert answer.body == await response.read(1 << 20)
    assert answer.headers["x-cortex-neuron"] == "beast"


async def test_only_the_name_of_the_model_is_replaced_for_an_alias(rig: Rig, beast: FakeNeuron) -> None:
    answer = await rig.post(EMBEDDINGS, b'{"input":"small", "model" : "small"}')
    assert answer.json["data"][0]["embedding"] == pytest.approx([0.6, 0.8])
    assert beast.bodies == [b'{"input":"small", "model" : "alpha"}']


async def test_a_model_that_is_not_loaded_is_loaded_first(rig: Rig, beast: FakeNeuron) -> None:
    answer = await rig.post(EMBEDDINGS, {"model": "beta", "input": ["a", "b", "c"], "user": "me"})
    assert (answer.status, len(answer.json["data"])) == (200, 3)
    assert [load.model_id for load in beast.loads] == ["beta"]
    assert answer.headers["x-cortex-ignored"] == "user"


async def test_a_body_that_is_wrong_starts_no_load(rig: Rig, beast: FakeNeuron) -> None:
    answer = await rig.post(EMBEDDINGS, {"model": "beta", "input": []})
    assert (answer.status, answer.error["param"]) == (400, "input")
    assert beast.loads == []


async def test_every_request_is_metered_with_its_tokens(rig: Rig) -> None:
    await rig.post(EMBEDDINGS, {"model": "alpha", "input": "x"})
    await rig.post(EMBEDDINGS, {"model": "nobody", "input": "x"})
    await rig.idle()
    assert await rig.metric("cortex_requests_total", model="alpha", api="embeddings", outcome="ok") == 1
    assert await rig.metric("cortex_requests_total", api="embeddings", outcome="model_not_found") == 1
    assert await rig.metric("cortex_prompt_tokens_total", model="alpha", neuron="beast") == 7


async def test_the_hosts_refusal_reaches_the_client_with_its_numbers(rig: Rig, beast: FakeNeuron) -> None:
    numbers = {"prompt_tokens": 600, "limit": 512}
    beast.script("alpha").refuse = ContextLengthExceeded("input 3 has 600 tokens", param="input", extras=numbers)
    answer = await rig.post(EMBEDDINGS, {"model": "alpha", "input": "x"})
    assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
    assert (answer.error["prompt_tokens"], answer.error["limit"]) == (600, 512)


async def test_an_answer_that_is_none_is_the_hosts_fault(rig: Rig, beast: FakeNeuron) -> None:
    beast.script("alpha").nonsense = b'{"object": "list"}'
    answer = await rig.post(EMBEDDINGS, {"model": "alpha", "input": "x"})
    assert (answer.status, answer.error["code"]) == (502, "upstream_malformed_response")
