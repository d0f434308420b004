"""The event stream: a snapshot, every change, a beat in silence, a new snapshot for who fell behind, an end."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from cortex.dialects.sse import SseParser
from cortex.neuron.events import EventHub
from cortex.protocol import NeuronEvent
from tests.neuron.rig import Rig, running

pytestmark = pytest.mark.anyio


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as rig:
        yield rig


async def test_a_listener_hears_what_is_and_then_what_happens(rig: Rig) -> None:
    await rig.load("alpha")
    async with rig.events() as events:
        first = await anext(events)
        assert first.kind == "snapshot"
        assert [(entry.id, entry.status) for entry in first.models] == [("alpha", "loaded")]
        assert first.health is not None
        await rig.load("beta")
        await rig.unload("alpha")
        heard = []
        async for event in events:
            heard += [(entry.id, entry.status.value, event.revision) for entry in event.models]
            if heard and heard[-1][:2] == ("alpha", "absent"):
                break
    states = [(name, status) for name, status, _ in heard]
    assert list(dict.fromkeys(states)) == [
        ("beta", "fetching"),
        ("beta", "loading"),
        ("beta", "loaded"),
        ("alpha", "draining"),
        ("alpha", "unloading"),
        ("alpha", "absent"),
    ]
    assert event.revision == (await rig.get("/health"))["revision"]
    assert event.health is not None
    assert event.health.devices[0].reserved_mb < first.health.devices[0].reserved_mb * 2


async def test_silence_has_a_beat_with_the_health(rig: Rig) -> None:
    async with rig.events() as events:
        await anext(events)
        beat = await anext(events)
    assert beat.kind == "health"
    assert beat.health is not None
    assert beat.health.status == "ok"


async def test_a_reconnect_resumes_by_its_snapshot(rig: Rig) -> None:
    async with rig.events() as events:
        await anext(events)
    await rig.load("alpha")
    async with rig.events() as events:
        assert [entry.id for entry in (await anext(events)).models] == ["alpha"]


async def test_a_host_that_ends_says_so_and_closes_the_stream(tmp_path: Path) -> None:
    async with running(tmp_path) as rig, rig.events() as events:
        await anext(events)
        rig.neuron.host.begin_drain()
        heard = [event async for event in events]
    assert heard[-1].kind == "draining"
    assert heard[-1].health is not None
    assert heard[-1].health.status == "draining"


async def test_who_falls_behind_gets_a_new_snapshot() -> None:
    revision = 0

    def event(kind: Literal["snapshot", "model", "health"]) -> NeuronEvent:
        return NeuronEvent(kind=kind, epoch="e", revision=revision)

    hub = EventHub(snapshot=lambda: event("snapshot"), beat=lambda: event("health"), beat_seconds=60.0)
    stream = hub.stream()
    await anext(stream)
    while revision < 1000:
        revision += 1
        hub.publish(event("model"))
    hub.close()
    parser = SseParser()
    heard = [msgspec.json.decode(one.data) async for chunk in stream for one in parser.feed(chunk)]
    assert (heard[0]["kind"], heard[0]["revision"]) == ("snapshot", 1000)
    assert len(heard) == 1
    assert hub.listeners == 0
