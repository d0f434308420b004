"""The neuron with the compiled engine and a real model: what is reserved holds, and what is unloaded comes back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cortex.config import NeuronConfig
from cortex.http import UpstreamClient
from cortex.neuron.app import Neuron
from cortex.neuron.host_memory import HostMemory
from cortex.ops.starter import cached_starter
from tests.neuron.rig import Answer

pytestmark = [pytest.mark.anyio, pytest.mark.real]
MODEL = "starter"
QUESTION = [{"role": "user", "content": "What is the capital of France? Answer with the name of the city."}]


class Real:
    """A running neuron."""

    def __init__(self, neuron: Neuron, client: UpstreamClient) -> None:
        self.neuron = neuron
        self.client = client

    async def ask(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        method, raw = ("GET", None) if body is None else ("POST", msgspec.json.encode(body))
        async with self.client.open(method, self.neuron.url + path, headers=headers or {}, body=raw) as response:
            return Answer(response.status, response.headers, await response.read(1 << 24))

    async def metrics(self, model: str = MODEL) -> dict[str, float]:
        """What the model's engine tells: by name, buckets with their bound."""
        text = (await self.ask("/metrics")).body.decode()
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return {
            sample.name.removeprefix("neuron_engine_") + sample.labels.get("le", ""): sample.value
            for sample in samples
            if sample.name.startswith("neuron_engine_") and sample.labels.get("model") == model
        }

    async def load(self, model: str = MODEL, **fields: Any) -> Answer:
        return await self.ask("/models/load", {"model_id": model, "source": str(cached_starter()), **fields})

    async def chat(self, model: str = MODEL, **fields: Any) -> Answer:
        body = {"model": model, "messages": QUESTION, "temperature": 0, "max_tokens": 16, **fields}
        return await self.ask("/v1/chat/completions", body)


@asynccontextmanager
async def real(**settings: Any) -> AsyncIterator[Real]:
    if not cached_starter().is_file():
        pytest.skip("the starter model is not in the cache: run make model")
    neuron = Neuron(NeuronConfig(host="127.0.0.1", port=0, drain_secs=5.0, **settings), {})
    await neuron.start()
    try:
        async with UpstreamClient() as client:
            yield Real(neuron, client)
    finally:
        await neuron.stop()


async def test_many_at_once_stay_within_what_was_reserved_and_all_of_it_comes_back() -> None:
    memory = HostMemory()
    async with real() as host:
        before = memory.resident_bytes()
        assert (await host.load(context_length=2048)).status == 200
        answers = await asyncio.gather(*(host.chat(stop=["!"]) for _ in range(8)))
        texts = {answer.json["choices"][0]["message"]["content"] for answer in answers}
        assert texts == {"The capital of France is Paris."}
        entry = (await host.ask(f"/models/{MODEL}")).json
        assert memory.resident_bytes() - before < entry["bytes"]
        assert (await host.ask("/models/unload", {"model_id": MODEL})).status == 200
        assert memory.resident_bytes() - before < entry["bytes"] / 4
        health = (await host.ask("/health")).json
        assert health["devices"][0]["reserved_mb"] == 0


async def test_the_next_model_takes_the_place_of_its_victim() -> None:
    async with real() as host:
        assert (await host.load("first", context_length=512)).status == 200
        answer = await host.load("second", context_length=512, evict=["first"])
        assert answer.json["status"] == "loaded"
        assert "Paris" in (await host.chat("second")).body.decode()
        assert (await host.chat("first")).status == 404


async def test_a_cap_on_memory_is_kept() -> None:
    async with real(memory_mb=64) as host:
        answer = await host.load()
        assert (answer.status, answer.error["code"]) == (422, "never_fits")
        assert answer.error["total_bytes"] == 64 << 20


async def test_an_engine_that_is_closed_under_a_request_says_so() -> None:
    async with real() as host:
        await host.load(context_length=2048)
        asking = asyncio.ensure_future(host.chat(max_tokens=2000, ignore_eos=True))
        model = host.neuron.host.models.find(MODEL)
        while not model.leases:
            await host.ask("/health")
        assert model.serving is not None
        await model.serving.engine.close()
        answer = await asking
        assert (answer.status, answer.error["code"]) == (500, "engine_failed")


async def test_the_engines_metrics_count_the_requests_that_ran_and_leave_with_the_model() -> None:
    asked, tokens = 5, 8
    async with real() as host:
        await host.load(context_length=2048)
        before = await host.metrics()
        answers = await asyncio.gather(*(host.chat(max_tokens=tokens, ignore_eos=True) for _ in range(asked)))
        after = await host.metrics()
        grown = {name: value - before[name] for name, value in after.items()}
        for name in ("queue", "prefill", "time_to_first_token", "decode"):
            assert grown[f"{name}_seconds_count"] == grown[f"{name}_seconds_bucket+Inf"] == asked, name
            assert grown[f"{name}_seconds_sum"] > 0, name
        assert grown["inter_token_seconds_count"] == asked * (tokens - 1)
        assert grown["step_seconds_count"] == grown["step_sequences_count"] == grown["steps_total"] >= tokens
        usage = [answer.json["usage"] for answer in answers]
        assert grown["decode_tokens_total"] == sum(one["completion_tokens"] for one in usage) == asked * tokens
        assert grown["prefix_queries_total"] == sum(one["prompt_tokens"] for one in usage)
        cached = sum(one["prompt_tokens_details"]["cached_tokens"] for one in usage)
        assert grown["prefix_hits_total"] == cached > 0
        assert grown["prefill_tokens_total"] == grown["prefix_queries_total"] - cached
        assert grown["step_tokens_sum"] == grown["prefill_tokens_total"] + asked * (tokens - 1)
        bounds = [value for name, value in after.items() if name.startswith("inter_token_seconds_bucket")]
        assert bounds == sorted(bounds), "a bucket counts all values up to its bound"
        assert (after["running"], after["waiting"], after["blocks_used"]) == (0, 0, 0)
        assert after["blocks_total"] > after["blocks_cached"] > 0
        await host.ask("/models/unload", {"model_id": MODEL})
        assert await host.metrics() == {}


async def test_tenants_share_no_cached_beginnings() -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Paris " * 100}], "max_tokens": 1}
    async with real() as host:
        assert (await host.load()).status == 200
        cached = []
        for tenant in ("", "ann", "bob", "ann", ""):
            told = await host.ask("/v1/chat/completions", body, {"x-cortex-cache-salt": tenant})
            cached.append(told.json["usage"]["prompt_tokens_details"]["cached_tokens"] > 0)
        assert cached == [False, False, False, True, True]
