"""Default models: loaded in order behind an open door, tried again when that may help, seen in the health."""

from pathlib import Path

import pytest

from cortex.config import DefaultModel
from cortex.errors import InsufficientMemory
from cortex.neuron.preload import Preload
from tests.fakes.engine import FakeEngines
from tests.neuron.rig import Rig, running

pytestmark = pytest.mark.anyio


def models(folder: Path, *names: str) -> tuple[DefaultModel, ...]:
    for name in names:
        (folder / f"{name}.gguf").write_bytes(b"weights")
    return tuple(DefaultModel(model_id=name, source=str(folder / f"{name}.gguf")) for name in names)


async def activation(rig: Rig, state: str) -> dict[str, object]:
    while (found := (await rig.get("/health"))["activation"])["state"] != state:
        pass
    return found  # type: ignore[no-any-return]


async def test_the_door_is_open_while_they_load_in_order(tmp_path: Path) -> None:
    engines = FakeEngines()
    engines.load_gate.clear()
    async with running(tmp_path, engines=engines, default_models=models(tmp_path, "beta", "alpha")) as rig:
        await engines.loading.wait()
        found = await activation(rig, "pre_warming")
        assert (found["in_progress"], found["pending"]) == ("beta", ["alpha"])
        engines.load_gate.set()
        found = await activation(rig, "ready")
        assert found["completed"] == ["beta", "alpha"]
        assert (await rig.chat("alpha")).status == 200


async def test_a_broken_one_is_named_and_the_next_is_loaded(tmp_path: Path) -> None:
    async with running(tmp_path, default_models=models(tmp_path, "broken", "alpha")) as rig:
        found = await activation(rig, "ready")
        assert found["completed"] == ["alpha"]
        assert found["failed"] == [{"model_id": "broken", "error": "broken.gguf is cut short"}]
        assert (await rig.get("/health"))["status"] == "ok"


async def test_what_may_pass_is_tried_again(tmp_path: Path) -> None:
    engines = FakeEngines()
    engines.load_error = InsufficientMemory("somebody else has the memory")
    async with running(tmp_path, engines=engines) as rig, rig.events() as events:
        preload = Preload(rig.neuron.host.loads, models(tmp_path, "alpha"), first_pause=0.01)
        preload.start()
        seen = []
        async for event in events:
            seen += [entry.status.value for entry in event.models]
            if "failed" in seen:
                engines.load_error = None
            if "loaded" in seen:
                break
        while preload.activation["state"] != "ready":
            await rig.get("/health")
        assert (preload.activation["completed"], preload.activation["failed"]) == (["alpha"], [])
        await preload.close()


async def test_it_ends_when_the_daemon_does(tmp_path: Path) -> None:
    engines = FakeEngines()
    engines.load_error = InsufficientMemory("somebody else has the memory")
    async with running(tmp_path, engines=engines, default_models=models(tmp_path, "alpha")) as rig:
        while not (await rig.get("/health"))["activation"]["failed"]:
            pass
        assert (await rig.get("/health"))["activation"]["state"] == "pre_warming"
    assert rig.neuron.host.preload.activation["state"] == "ready"
