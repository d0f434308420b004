"""What the gateway does by itself: unload idle models, call off loads that stand still, have hosts begin anew."""

import asyncio

import pytest

from cortex.config import EvictionConfig, ModelProfile, ModelsConfig
from cortex.fleet.state import Duty, Job
from cortex.gateway import patience as patience_module
from cortex.gateway.patience import patience
from cortex.types import ModelState
from tests.fakes.neuron import FakeNeuron
from tests.gateway.rig import CATALOGUE, CHAT, chat, running

pytestmark = pytest.mark.anyio
SHORT = ModelsConfig(models=(ModelProfile(id="alpha", vram_mb=40, idle_ttl_secs=0.05), *CATALOGUE.models[1:]))


async def test_a_model_that_nobody_uses_leaves_and_comes_back_when_it_is_asked_for() -> None:
    beast = FakeNeuron("beast")
    async with running(beast, models=SHORT) as rig:
        rig.gateway._idle._look_seconds = 0.01
        gate = beast.hold("alpha")
        async with rig.open(CHAT, chat(stream=True)) as response:
            assert response.status == 200
            await rig.until(lambda: beast.running == 1)
            await asyncio.sleep(0.2)
            assert "alpha" in beast.entries, "in use"
            gate.set()
            await response.read(1 << 20)
        await rig.sees(lambda fleet: "alpha" not in fleet.hosts["beast"].models)
        assert await rig.metric("cortex_evictions_total", model="alpha", reason="idle") == 1
        beast.put("beta")
        assert (await rig.post(CHAT, chat())).status == 200
        assert len(beast.loads) == 2
        assert "beta" in beast.entries, "it has no time to live"


async def test_a_load_that_stands_still_is_called_off_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience_module, "_BASE_SECONDS", 0.1)
    beast = FakeNeuron("beast")
    beast.load_gate.clear()
    async with running(beast) as rig:
        answer = await rig.post(CHAT, chat())
        assert answer.status == 503
        assert "no progress" in answer.error["message"]
        assert beast.called_off == ["alpha"]
        assert rig.gateway.board.fleet.failures["beast", "alpha"].code == "load_stalled"
        beast.load_gate.set()


async def test_a_load_that_moves_has_all_the_time_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience_module, "_BASE_SECONDS", 0.2)
    beast = FakeNeuron("beast")
    beast.load_gate.clear()
    async with running(beast) as rig, asyncio.TaskGroup() as group:
        asked = group.create_task(rig.post(CHAT, chat()))
        await rig.sees(lambda fleet: fleet.hosts["beast"].has("alpha", ModelState.LOADING))
        for done in range(5):
            await asyncio.sleep(0.1)
            beast.progress("alpha", done)
        beast.load_gate.set()
        assert (await asked).status == 200


def test_larger_models_may_take_longer() -> None:
    gib = 1 << 30
    waits = [patience(Job(model="a", host="b", since=0, devices=(0, 1), share_bytes=gib * size)) for size in (0, 30)]
    assert waits == [300.0, 300.0 + 60 * 20.0]


async def test_after_many_loads_a_host_begins_anew_and_serves_again() -> None:
    beast, quad = FakeNeuron("beast"), FakeNeuron("quad")
    beast.restarts = True
    async with running(beast, quad, eviction=EvictionConfig(defrag_after_cycles=2)) as rig:
        for model in ("alpha", "beta"):
            beast.put(model, status=ModelState.ABSENT)
            await rig.post("/api/admin/models/load", {"model": model, "host": "beast"})
            await rig.sees(lambda fleet: not fleet.jobs)
        await rig.sees(lambda fleet: fleet.hosts["beast"].epoch == "beast-2")
        await rig.sees(lambda fleet: fleet.hosts["beast"].duty is Duty.ACTIVE)
        assert not beast.entries
        assert (await rig.post(CHAT, chat())).status == 200


async def test_a_host_that_cannot_begin_anew_goes_on_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    beast = FakeNeuron("beast")
    async with running(beast, eviction=EvictionConfig(defrag_after_cycles=1)) as rig:
        assert (await rig.post(CHAT, chat())).status == 200
        await rig.until(lambda: "cannot restart itself" in caplog.text)
        await rig.sees(lambda fleet: fleet.hosts["beast"].duty is Duty.ACTIVE)
        assert (await rig.post(CHAT, chat())).status == 200
