"""A request for a model that is not loaded: loads, single flight, waiting, eviction, failures of loads."""

import asyncio
import time

import msgspec
import pytest

from cortex.config import EvictionConfig, ModelProfile, ModelsConfig
from cortex.dialects.sse import KEEP_ALIVE
from cortex.errors import ModelFileInvalid, NeverFits
from cortex.types import ModelState
from tests.fakes.neuron import FakeNeuron
from tests.gateway.rig import CHAT, MESSAGES, TEXT, Answer, Rig, chat, message, running, soon

pytestmark = pytest.mark.anyio


def text_of(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    text: str = answer.json["choices"][0]["message"]["content"]
    return text


def waiting(rig: Rig) -> float | None:
    return rig.gateway.metrics.registry.get_sample_value("cortex_requests_waiting")


async def test_a_request_loads_the_model_and_is_answered() -> None:
    beast = FakeNeuron("beast")
    async with running(beast) as rig:
        assert text_of(await rig.post(CHAT, chat())) == TEXT
        assert [load.model_id for load in beast.loads] == ["alpha"]
        await rig.idle()
        assert await rig.metric("cortex_cold_starts_total", model="alpha", neuron="beast") == 1
        assert await rig.metric("cortex_model_loads_total", model="alpha", outcome="ok") == 1


async def test_all_waiters_of_all_dialects_share_one_load() -> None:
    beast = FakeNeuron("beast")
    beast.load_gate.clear()
    async with running(beast) as rig, asyncio.TaskGroup() as group:
        asking = [group.create_task(rig.post(CHAT, chat())) for _ in range(4)]
        translated = [group.create_task(rig.post(MESSAGES, message())) for _ in range(4)]
        await soon(beast.until(lambda: beast.loads))
        await rig.until(lambda: rig.gateway.server.in_flight == 8)
        beast.load_gate.set()
        answers = [await task for task in asking]
        assert [text_of(answer) for answer in answers] == [TEXT] * 4
        assert [(await task).json["content"][0]["text"] for task in translated] == [TEXT] * 4
        assert len(beast.loads) == 1


async def test_the_load_outlives_the_client_that_started_it() -> None:
    beast = FakeNeuron("beast")
    beast.load_gate.clear()
    async with running(beast) as rig:
        first = asyncio.create_task(rig.post(CHAT, chat()))
        await soon(beast.until(lambda: beast.loads))
        first.cancel()
        await asyncio.wait([first])
        await rig.until(lambda: rig.gateway.server.in_flight == 0)
        beast.load_gate.set()
        await rig.sees_loaded("beast", "alpha")
        assert beast.bodies == []
        assert text_of(await rig.post(CHAT, chat())) == TEXT
        assert len(beast.loads) == 1


async def test_a_waiter_that_left_starts_no_load() -> None:
    """beta needs the room of alpha, which is in use; its only client leaves before alpha is idle."""
    beast = FakeNeuron("beast", memory_mb=50)
    beast.put("alpha")
    gate = beast.hold("alpha")
    async with running(beast) as rig, asyncio.TaskGroup() as group:
        await rig.sees_loaded("beast", "alpha")
        using = group.create_task(rig.post(CHAT, chat(stream=True)))
        await soon(beast.until(lambda: beast.running))
        leaving = asyncio.create_task(rig.post(CHAT, chat("beta")))
        await rig.until(lambda: waiting(rig) == 1)
        leaving.cancel()
        await asyncio.wait([leaving])
        await rig.until(lambda: rig.gateway.server.in_flight == 1)
        gate.set()
        await using
        await rig.idle()
        assert beast.loads == []


async def test_a_model_in_use_is_not_evicted_but_waited_for() -> None:
    beast = FakeNeuron("beast", memory_mb=50)
    beast.put("alpha")
    gate = beast.hold("alpha")
    async with running(beast) as rig, asyncio.TaskGroup() as group:
        await rig.sees_loaded("beast", "alpha")
        using = group.create_task(rig.post(CHAT, chat()))
        await soon(beast.until(lambda: beast.running))
        wanting = group.create_task(rig.post(CHAT, chat("beta")))
        await rig.until(lambda: waiting(rig) == 1)
        assert beast.loads == []
        gate.set()
        assert text_of(await using) == TEXT
        assert text_of(await wanting) == TEXT
        assert [(load.model_id, load.evict) for load in beast.loads] == [("beta", ("alpha",))]


async def test_the_least_recently_used_model_goes_when_it_does_not_fit() -> None:
    beast = FakeNeuron("beast")
    beast.put("alpha", last_used=200.0)
    beast.put("beta", last_used=100.0)
    async with running(beast) as rig:
        await rig.sees_loaded("beast", "beta")
        assert text_of(await rig.post(CHAT, chat("gamma"))) == TEXT
        assert [(load.model_id, load.evict) for load in beast.loads] == [("gamma", ("beta",))]
        assert set(beast.entries) == {"alpha", "gamma"}
        await rig.idle()
        assert await rig.metric("cortex_evictions_total", model="beta", neuron="beast") == 1


async def test_a_use_through_the_gateway_counts_as_use() -> None:
    beast = FakeNeuron("beast")
    beast.put("alpha", last_used=100.0)
    beast.put("beta", last_used=200.0)
    async with running(beast) as rig:
        await rig.sees_loaded("beast", "beta")
        await rig.post(CHAT, chat("alpha"))
        await rig.post(CHAT, chat("gamma"))
        assert beast.loads[0].evict == ("beta",)


async def test_a_plan_that_is_stale_is_made_anew() -> None:
    """The host's revision moves on without an event, so the first plan is refused."""
    beast = FakeNeuron("beast")
    beast.has_events = False
    async with running(beast, poll_secs=60.0) as rig:
        beast.revision += 1
        assert text_of(await rig.post(CHAT, chat())) == TEXT
        assert len(beast.loads) == 2


async def test_the_host_with_free_room_is_preferred() -> None:
    full, empty = FakeNeuron("aaa", memory_mb=50), FakeNeuron("bbb")
    full.put("beta")
    async with running(full, empty) as rig:
        await rig.sees_loaded("aaa", "beta")
        assert text_of(await rig.post(CHAT, chat())) == TEXT
        assert (len(full.loads), len(empty.loads)) == (0, 1)


async def test_a_pinned_model_is_never_evicted_and_the_answer_says_so() -> None:
    beast = FakeNeuron("beast", memory_mb=50)
    beast.put("alpha")
    models = ModelsConfig(
        models=(ModelProfile(id="alpha", vram_mb=40, pinned_on=("beast",)), ModelProfile(id="beta", vram_mb=40))
    )
    async with running(beast, models=models) as rig:
        await rig.sees_loaded("beast", "alpha")
        answer = await rig.post(CHAT, chat("beta"))
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.error["code"] == "insufficient_memory"


async def test_a_young_model_stays_for_its_minimum_time() -> None:
    beast = FakeNeuron("beast", memory_mb=50)
    async with running(beast, eviction=EvictionConfig(min_residency_secs=3600), load_wait_secs=0.3) as rig:
        beast.put("alpha", loaded_at=time.time())
        await rig.sees_loaded("beast", "alpha")
        answer = await rig.post(CHAT, chat("beta"))
        assert (answer.status, answer.error["code"]) == (503, "service_unavailable")
        assert beast.loads == []


@pytest.mark.parametrize(("path", "status"), [(CHAT, 503), (MESSAGES, 529)])
async def test_the_wait_is_bounded_and_tells_the_state_of_the_load(path: str, status: int) -> None:
    beast = FakeNeuron("beast")
    beast.load_gate.clear()
    async with running(beast, load_wait_secs=0.3) as rig:
        answer = await rig.post(path, message())
        assert answer.status == status
        assert answer.headers["retry-after"] == "3"
        assert "alpha is still loading on beast" in answer.error["message"]
        if path == CHAT:
            told = {"state": "loading", "node": "beast", "progress": 0.25, "eta_seconds": 3.0}
            assert answer.error["loading"] == told
        beast.load_gate.set()
        await rig.sees_loaded("beast", "alpha")
        assert len(beast.loads) == 1


@pytest.mark.parametrize(("path", "sign"), [(CHAT, KEEP_ALIVE), (MESSAGES, b"event: ping\n")])
async def test_a_stream_shows_signs_of_life_while_the_model_loads(path: str, sign: bytes) -> None:
    beast = FakeNeuron("beast")
    beast.load_gate.clear()
    async with running(beast, keep_alive_secs=0.05) as rig, rig.open(path, message(stream=True)) as response:
        assert response.status == 200
        seen = b""
        async for chunk in response.chunks():
            seen += chunk
            if seen.count(sign) >= 3:
                beast.load_gate.set()
    assert b"Paris" in seen
    assert b"error" not in seen


async def test_a_load_that_cannot_work_is_a_clean_status_with_the_reason() -> None:
    beast = FakeNeuron("beast")
    beast.load_error = ModelFileInvalid("alpha.gguf is cut short: 10 of 99 bytes")
    async with running(beast) as rig:
        for body in (chat(), chat(stream=True)):
            answer = await rig.post(CHAT, body)
            assert answer.status == 422
            assert answer.error["code"] == "model_file_invalid"
            assert "alpha.gguf is cut short" in answer.error["message"]
        translated = await rig.post(MESSAGES, message())
        assert (translated.status, translated.json["type"]) == (422, "error")
        assert len(beast.loads) == 1, "a host rests after a failed load"
        beast.load_error = None
        assert text_of(await rig.post(CHAT, chat("beta"))) == TEXT


async def test_after_a_failure_another_host_is_tried() -> None:
    bad, good = FakeNeuron("aaa", memory_mb=200), FakeNeuron("bbb", memory_mb=100)
    bad.load_error = ModelFileInvalid("no such file")
    async with running(bad, good) as rig:
        assert text_of(await rig.post(CHAT, chat())) == TEXT
        assert (len(bad.loads), len(good.loads)) == (1, 1)
        await rig.idle()
        assert await rig.metric("cortex_model_loads_total", neuron="aaa", outcome="model_file_invalid") == 1


async def test_a_model_that_fits_nowhere_is_refused_with_the_numbers() -> None:
    models = ModelsConfig(models=(ModelProfile(id="huge", vram_mb=4000),))
    async with running(FakeNeuron("beast"), models=models) as rig:
        answer = await rig.post(CHAT, chat("huge"))
        assert (answer.status, answer.error["code"]) == (422, NeverFits.code)
        assert "4000 MiB" in answer.error["message"]
        assert "100 MiB" in answer.error["message"]


async def test_a_size_that_only_the_host_knows_leads_to_a_second_plan_with_eviction() -> None:
    beast = FakeNeuron("beast", memory_mb=50)
    beast.put("alpha")
    models = ModelsConfig(models=(ModelProfile(id="alpha"), ModelProfile(id="beta")))
    async with running(beast, models=models) as rig:
        await rig.sees_loaded("beast", "alpha")
        assert text_of(await rig.post(CHAT, chat("beta"))) == TEXT
        assert [load.evict for load in beast.loads] == [(), ("alpha",)]


async def test_a_host_that_dies_while_it_loads_is_left_for_another() -> None:
    dying, other = FakeNeuron("aaa", memory_mb=200), FakeNeuron("bbb")
    dying.load_gate.clear()
    async with running(dying, other) as rig, asyncio.TaskGroup() as group:
        asking = group.create_task(rig.post(CHAT, chat()))
        await soon(dying.until(lambda: dying.loads))
        await dying.die()
        assert text_of(await asking) == TEXT
        assert len(other.loads) == 1


async def test_a_model_that_was_unloaded_behind_our_back_is_loaded_again() -> None:
    beast = FakeNeuron("beast")
    beast.put("alpha")
    beast.has_events = False
    async with running(beast, poll_secs=60.0) as rig:
        beast.entries.clear()
        beast.revision += 1
        assert text_of(await rig.post(CHAT, chat())) == TEXT
        assert len(beast.loads) == 1


async def test_what_the_neuron_loads_by_itself_is_waited_for() -> None:
    beast = FakeNeuron("beast")
    async with running(beast) as rig, asyncio.TaskGroup() as group:
        beast.put("alpha", status=ModelState.LOADING)
        await rig.sees(lambda fleet: fleet.hosts["beast"].has("alpha", ModelState.LOADING))
        asking = group.create_task(rig.post(CHAT, chat()))
        await rig.until(lambda: waiting(rig) == 1)
        beast.put("alpha")
        assert text_of(await asking) == TEXT
        assert beast.loads == []


async def test_the_load_request_carries_the_profile() -> None:
    beast = FakeNeuron("beast", sizes={"org/alpha": 10})
    profile = msgspec.convert(
        {"id": "org/alpha", "quant": "Q4_1", "source": "package:x/y.gguf", "limit": {"context": 2048}}, ModelProfile
    )
    async with running(beast, models=ModelsConfig(models=(profile,))) as rig:
        assert text_of(await rig.post(CHAT, chat("org/alpha"))) == TEXT
    load = beast.loads[0]
    assert (load.model_id, load.quant, load.source) == ("org/alpha", "Q4_1", "package:x/y.gguf")
    assert (load.context_length, load.devices, load.tensor_parallel) == (2048, None, None)
    assert load.wait
