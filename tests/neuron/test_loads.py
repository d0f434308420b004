"""Loads and unloads: one job a model, plans and victims, leases, failures that cost nobody anything."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cortex.errors import EngineFailed, ModelFileInvalid
from cortex.protocol import LoadRequest
from tests.fakes.engine import FakeEngines, Script
from tests.neuron.rig import Answer, Rig, running

pytestmark = pytest.mark.anyio


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """Room for two models of 40 MB, not for three."""
    async with running(tmp_path, memory_mb=110) as rig:
        yield rig


async def state(rig: Rig, model: str) -> str:
    found = {entry["id"]: entry["status"] for entry in await rig.get("/models")}
    return str(found.get(model, "absent"))


async def begin(rig: Rig, model: str = "alpha") -> asyncio.Future[Answer]:
    """A load that stands at its gate."""
    rig.engines.load_gate.clear()
    rig.engines.loading.clear()
    loading = asyncio.ensure_future(rig.load(model))
    await rig.engines.loading.wait()
    return loading


async def busy(rig: Rig, model: str = "alpha") -> asyncio.Future[Answer]:
    """A request of the model that stands at its gate."""
    engine = rig.engine(model)
    engine.script.gate_at = 0
    asking = asyncio.ensure_future(rig.chat(model))
    await engine.until(lambda: engine.running)
    return asking


async def test_many_ask_and_one_load_answers_all(rig: Rig) -> None:
    first = await begin(rig)
    others = [asyncio.ensure_future(rig.load()) for _ in range(3)]
    told = await rig.load(wait=False)
    assert told.status == 202
    assert told.json["status"] == "loading"
    rig.engines.load_gate.set()
    answers = await asyncio.gather(first, *others)
    assert [answer.json["status"] for answer in answers] == ["loaded"] * 4
    assert len(rig.engines.plans) == 1
    again = await rig.load()
    assert (again.status, again.json["revision"]) == (200, answers[0].json["revision"])
    assert len(rig.engines.plans) == 1


async def test_a_load_outlives_the_client_that_asked_for_it(rig: Rig) -> None:
    loading = await begin(rig)
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    rig.engines.load_gate.set()
    assert (await rig.load()).status == 200
    assert len(rig.engines.plans) == 1
    assert rig.engines.cancelled == 0


async def test_a_model_that_loads_shows_its_progress_and_asks_to_wait(rig: Rig) -> None:
    loading = await begin(rig)
    while (entry := await rig.get("/models/alpha"))["progress"] is None:
        pass
    assert entry["status"] == "loading"
    assert entry["progress"]["stage"] == "weights"
    assert (entry["progress"]["done_bytes"], entry["progress"]["total_bytes"]) == (25, 100)
    answer = await rig.chat()
    assert (answer.status, answer.error["code"]) == (503, "model_loading")
    assert answer.error["loading"]["state"] == "loading"
    assert answer.error["loading"]["progress"] == 0.25
    rig.engines.load_gate.set()
    assert (await loading).status == 200


async def test_the_engine_gets_exactly_the_memory_that_was_reserved(rig: Rig) -> None:
    assert (await rig.load(context_length=1024)).status == 200
    plan = rig.engines.plans[0]
    assert (plan.context_length, plan.max_sequences, plan.kv_bytes) == (1024, 4, 4 * 1024 * 1024)
    total = (await rig.get("/models/alpha"))["bytes"]
    assert total == pytest.approx((40 + 4) * 1024 * 1024 * 1.05, abs=1)


async def test_the_kv_pool_shrinks_to_what_is_free(tmp_path: Path) -> None:
    async with running(tmp_path, memory_mb=48) as rig:
        assert (await rig.load()).status == 200
        assert rig.engines.plans[0].kv_bytes == pytest.approx(5.7 * 1024 * 1024, rel=0.01)
        entry = await rig.get("/models/alpha")
        assert 0 < entry["least_bytes"] < entry["bytes"]


async def test_too_little_memory_now_and_too_little_ever_are_told_apart(rig: Rig) -> None:
    rig.engines.sizes = {"huge": 500}
    await rig.load("alpha")
    await rig.load("beta")
    full = await rig.load("gamma")
    assert (full.status, full.error["code"]) == (503, "insufficient_memory")
    assert full.error["needed_bytes"] > full.error["free_bytes"] > 0
    assert "retry-after" in full.headers
    never = await rig.load("huge")
    assert (never.status, never.error["code"]) == (422, "never_fits")
    assert never.error["needed_bytes"] > never.error["total_bytes"] == 110 * 1024 * 1024
    assert [await state(rig, name) for name in ("alpha", "beta", "gamma", "huge")] == [
        "loaded",
        "loaded",
        "failed",
        "failed",
    ]


async def test_a_plan_names_its_victims_and_its_state(rig: Rig) -> None:
    await rig.load("alpha")
    await rig.load("beta")
    health = await rig.get("/health")
    plan = {"epoch": health["epoch"], "revision": health["revision"], "evict": ["alpha"]}
    stale = await rig.load("gamma", **{**plan, "revision": health["revision"] - 1})
    assert (stale.status, stale.error["code"]) == (409, "plan_stale")
    assert stale.error["revision"] == health["revision"]
    assert (await rig.load("gamma", **{**plan, "epoch": "another"})).status == 409
    assert (await rig.load("gamma", **plan)).status == 200
    assert [await state(rig, name) for name in ("alpha", "beta", "gamma")] == ["absent", "loaded", "loaded"]
    assert rig.engine("alpha").closed
    assert await rig.metric("neuron_model_unloads_total", model="alpha", reason="evicted") == 1


async def test_progress_and_requests_do_not_make_a_plan_stale(rig: Rig) -> None:
    await rig.load("alpha")
    health = await rig.get("/health")
    await rig.chat()
    assert (await rig.load("beta", epoch=health["epoch"], revision=health["revision"])).status == 200


async def test_a_victim_in_use_is_not_taken_and_makes_the_plan_stale(rig: Rig) -> None:
    await rig.load("alpha")
    await rig.load("beta")
    asking = await busy(rig, "alpha")
    answer = await rig.load("gamma", evict=["alpha"])
    assert (answer.status, answer.error["code"]) == (409, "plan_stale")
    assert await state(rig, "alpha") == "loaded"
    rig.engine("alpha").script.gate.set()
    assert (await asking).status == 200
    assert (await rig.load("gamma", evict=["alpha"])).status == 200


async def test_a_victim_may_finish_what_it_answers(rig: Rig) -> None:
    await rig.load("alpha")
    await rig.load("beta")
    asking = await busy(rig, "alpha")
    loading = asyncio.ensure_future(rig.load("gamma", evict=["alpha"]))
    while await state(rig, "alpha") != "draining":
        pass
    turned_away = await rig.chat("alpha")
    assert turned_away.status == 503
    rig.engine("alpha").script.gate.set()
    assert (await asking).status == (await loading).status == 200
    assert await state(rig, "alpha") == "absent"


async def test_a_broken_file_evicts_nobody(rig: Rig) -> None:
    await rig.load("alpha")
    answer = await rig.load("broken", evict=["alpha"])
    assert (answer.status, answer.error["code"]) == (422, "model_file_invalid")
    assert "broken.gguf" in answer.error["message"]
    assert await state(rig, "alpha") == "loaded"
    entry = await rig.get("/models/broken")
    assert (entry["status"], entry["error_code"]) == ("failed", "model_file_invalid")
    asked = await rig.chat("broken")
    assert asked.status == 503
    assert "cut short" in asked.error["message"]


async def test_a_file_that_is_not_there_is_named(rig: Rig) -> None:
    answer = await rig.load("alpha", source="/nowhere/alpha.gguf")
    assert (answer.status, answer.error["code"]) == (422, "repo_fetch_failed")
    assert "/nowhere/alpha.gguf" in answer.error["message"]


async def test_a_failed_load_gives_its_memory_back_and_may_be_tried_again(rig: Rig) -> None:
    rig.engines.load_error = ModelFileInvalid("tensor 7 lies about its size")
    assert (await rig.load()).status == 422
    assert (await rig.get("/health"))["devices"][0]["reserved_mb"] == 0
    rig.engines.load_error = None
    assert (await rig.load()).status == 200
    assert (await rig.get("/models/alpha"))["error"] is None
    assert await rig.metric("neuron_model_loads_total", model="alpha", outcome="model_file_invalid") == 1
    assert await rig.metric("neuron_model_loads_total", model="alpha", outcome="ok") == 1


async def test_a_model_is_loaded_only_once_it_has_generated_a_token(rig: Rig) -> None:
    rig.engines.scripts["alpha"] = Script(refuse=EngineFailed("the first step failed"))
    answer = await rig.load()
    assert (answer.status, answer.error["code"]) == (500, "engine_failed")
    assert rig.engine().closed
    assert await state(rig, "alpha") == "failed"
    assert (await rig.get("/health"))["devices"][0]["reserved_mb"] == 0


async def test_an_unload_waits_for_those_who_use_the_model_and_then_gives_up(rig: Rig) -> None:
    await rig.load()
    asking = await busy(rig)
    answer = await rig.unload(drain_seconds=0.05)
    assert (answer.status, answer.error["code"], answer.error["in_flight"]) == (409, "model_busy", 1)
    assert await state(rig, "alpha") == "loaded"
    leaving = asyncio.ensure_future(rig.unload())
    while await state(rig, "alpha") != "draining":
        pass
    rig.engine().script.gate.set()
    assert (await asking).status == (await leaving).status == 200
    assert await state(rig, "alpha") == "absent"


async def test_an_unload_of_an_older_plan_is_refused(rig: Rig) -> None:
    await rig.load()
    health = await rig.get("/health")
    answer = await rig.unload(epoch=health["epoch"], revision=health["revision"] - 1)
    assert answer.status == 409
    assert (await rig.unload(epoch=health["epoch"], revision=health["revision"])).status == 200


async def test_an_unload_stops_a_load(rig: Rig) -> None:
    loading = await begin(rig)
    assert (await rig.unload()).status == 200
    answer = await loading
    assert (answer.status, answer.error["code"]) == (503, "service_unavailable")
    assert "cancelled" in answer.error["message"]
    assert rig.engines.cancelled == 1
    assert await state(rig, "alpha") == "absent"
    assert (await rig.get("/health"))["devices"][0]["reserved_mb"] == 0


async def test_a_load_that_is_stopped_at_its_very_start_ends_too(rig: Rig) -> None:
    loads = rig.neuron.host.loads
    told = await loads.load(LoadRequest(model_id="alpha", source=rig.source("alpha"), wait=False))
    assert told.status == "fetching"
    await loads.cancel("alpha")
    assert await state(rig, "alpha") == "absent"


async def test_a_failed_model_is_forgotten_when_it_is_unloaded(rig: Rig) -> None:
    await rig.load("broken")
    assert (await rig.unload("broken")).status == 200
    assert await rig.get("/models") == []


async def test_a_loaded_model_is_not_taken_for_another_form_of_it(rig: Rig) -> None:
    await rig.load()
    answer = await rig.load(source=rig.source("beta"))
    assert (answer.status, answer.error["param"]) == (400, "source")
    assert (await rig.load(source=None)).status == 200


async def test_a_dead_engine_is_taken_off_and_the_model_may_be_loaded_again(rig: Rig) -> None:
    await rig.load()
    dead = rig.engine()
    dead.state.failed = "device lost"
    assert (await rig.get("/health"))["status"] == "failing"
    assert (await rig.ask("GET", "/ready")).status == 503
    await rig.neuron.host.watch.look()
    assert dead.closed
    entry = await rig.get("/models/alpha")
    assert (entry["status"], entry["error_code"]) == ("failed", "engine_failed")
    assert "device lost" in entry["error"]
    health = await rig.get("/health")
    assert (health["status"], health["devices"][0]["reserved_mb"]) == ("ok", 0)
    assert (await rig.load()).status == 200
    assert (await rig.chat()).status == 200


async def test_an_engine_that_does_not_step_makes_the_host_fail(rig: Rig) -> None:
    await rig.load()
    rig.engine().state.last_step_age_seconds = 500.0
    assert (await rig.get("/health"))["status"] == "failing"


async def test_a_stuck_engine_is_given_up_and_its_memory_stays_held_until_it_comes_back(rig: Rig) -> None:
    rig.engines.scripts["alpha"] = Script(gate_at=1)
    await rig.load()
    stuck = rig.engine()
    asking = asyncio.create_task(rig.chat())
    await stuck.until(lambda: stuck.running)
    stuck.state.last_step_age_seconds = 10_000.0
    await rig.neuron.host.watch.look()
    answer = await asking
    assert (answer.status, answer.error["code"]) == (500, "engine_failed")
    entry = await rig.get("/models/alpha")
    assert (entry["status"], entry["error_code"]) == ("failed", "engine_failed")
    assert "no step" in entry["error"]
    health = await rig.get("/health")
    assert health["status"] == "ok"
    ledger = rig.neuron.host.unloads.ledger
    assert ledger.holding("alpha (stuck 1)") is not None
    rig.engines.scripts["alpha"] = Script()
    assert (await rig.load()).status == 200
    assert (await rig.chat()).status == 200
    stuck.comes_back.set()
    await stuck.until(lambda: stuck.closed)
    await asyncio.sleep(0)
    assert ledger.holding("alpha (stuck 1)") is None
    assert ledger.holding("alpha") is not None
    assert (await rig.get("/models/alpha"))["status"] == "loaded"


async def test_last_use_is_when_it_ended(rig: Rig) -> None:
    await rig.load()
    assert (await rig.get("/models/alpha"))["last_used"] is None
    await rig.chat()
    entry = await rig.get("/models/alpha")
    assert entry["last_used"] >= entry["loaded_at"]


async def test_the_roomiest_device_is_taken_unless_one_is_named(tmp_path: Path) -> None:
    async with running(tmp_path, memory_mb=200) as rig:
        rig.devices.total = rig.devices.free = [200 << 20, 400 << 20]
        await rig.neuron.host.status.refresh()
        await rig.load("alpha")
        await rig.load("beta", devices=[0])
    assert [(plan.path.stem, plan.device) for plan in rig.engines.plans] == [("alpha", 1), ("beta", 0)]


async def test_engine_counters_are_exported(tmp_path: Path) -> None:
    engines = FakeEngines()
    async with running(tmp_path, engines=engines) as rig:
        await rig.load()
        await rig.chat()
        text = (await rig.ask("GET", "/metrics")).body.decode()
        assert 'neuron_engine_decode_tokens_total{model="alpha"}' in text
        assert 'neuron_model_kv_blocks_total{model="alpha"} 64.0' in text
        assert 'neuron_device_reserved_mb{device="0"}' in text
        assert 'neuron_completion_tokens_total{model="alpha"} 3.0' in text
        await rig.unload()
        text = (await rig.ask("GET", "/metrics")).body.decode()
        assert "neuron_engine_decode_tokens_total{" not in text
        assert "neuron_model_in_flight{" not in text
