"""Waiting at the gateway: bounded, fair between keys, on to another host; and hosts held back by an operator."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cortex.config import AdmissionSection, AuthConfig
from cortex.errors import EngineFailed
from cortex.fleet.state import Duty
from tests.fakes.neuron import FakeNeuron
from tests.gateway.rig import CHAT, MESSAGES, Rig, chat, message, running

pytestmark = pytest.mark.anyio
OPEN = AuthConfig(mode="open", trusted_proxies=("127.0.0.0/8",))


def client(number: int) -> dict[str, str]:
    """Headers of a client of its own."""
    return {"x-forwarded-for": f"10.0.0.{number}"}


def narrow(name: str = "beast", places: int = 1) -> FakeNeuron:
    """A host that runs so many requests of `alpha` at once, each of which waits for the gate."""
    neuron = FakeNeuron(name)
    neuron.max_in_flight = places
    neuron.put("alpha")
    neuron.hold("alpha", gate_at=0)
    return neuron


@asynccontextmanager
async def asked(rig: Rig, count: int, *, who: int = 1, **more: Any) -> AsyncIterator[list["asyncio.Task[Any]"]]:
    """So many requests under way, in order."""
    async with asyncio.TaskGroup() as group:
        tasks = []
        for _ in range(count):
            waiting = rig.gateway._dispatcher.lines._waiting
            tasks.append(group.create_task(rig.post(CHAT, chat(**more), client(who))))
            if rig.gateway.board.fleet.hosts["beast"].full("alpha"):
                await rig.until(lambda waiting=waiting: rig.gateway._dispatcher.lines._waiting > waiting)  # type: ignore[misc]
            else:
                await rig.sees_busy("beast", "alpha")
        yield tasks


async def test_what_runs_at_once_is_what_the_host_runs_and_the_rest_waits_here() -> None:
    beast = narrow(places=2)
    async with running(beast, auth=OPEN) as rig:
        await rig.sees_loaded("beast", "alpha")
        async with asked(rig, 5):
            await rig.until(lambda: beast.running == 2)
            assert await rig.metric("cortex_requests_waiting") == 3
            beast.script("alpha").gate.set()
        assert len(beast.bodies) == 5
        assert await rig.metric("cortex_requests_waiting") == 0


async def test_one_request_of_another_is_not_behind_all_of_somebodys() -> None:
    beast = narrow()
    async with running(beast, auth=OPEN) as rig:
        await rig.sees_loaded("beast", "alpha")
        async with asked(rig, 8, user="many"), asked(rig, 1, who=2, user="one"):
            beast.script("alpha").gate.set()
        order = [b'"one"' in body for body in beast.bodies]
        assert order.index(True) <= 3, "behind the one that runs, the next, and one more"


async def test_too_many_are_refused_at_once_in_both_dialects() -> None:
    beast = narrow()
    limits = AdmissionSection(max_queue_depth=2, max_queue_per_key=1)
    async with running(beast, auth=OPEN, admission=limits) as rig:
        await rig.sees_loaded("beast", "alpha")
        async with asked(rig, 2):
            own = await rig.post(CHAT, chat(), client(1))
            assert (own.status, own.error["code"]) == (429, "rate_limit_exceeded")
            async with asked(rig, 1, who=2):
                for path, body, status in ((CHAT, chat(), 503), (MESSAGES, message(), 529)):
                    all_ = await rig.post(path, body, client(3))
                    assert (all_.status, int(all_.headers["retry-after"]) > 0) == (status, True)
                beast.script("alpha").gate.set()


async def test_a_client_that_leaves_the_line_takes_no_turn() -> None:
    beast = narrow()
    async with running(beast, auth=OPEN) as rig:
        await rig.sees_loaded("beast", "alpha")
        async with asked(rig, 2, user="stays"):
            async with rig.open(CHAT, chat(stream=True, user="leaves"), client(2)):
                await rig.until(lambda: rig.gateway._dispatcher.lines._waiting == 2)
            await rig.until(lambda: rig.gateway._dispatcher.lines._waiting == 1)
            beast.script("alpha").gate.set()
        await rig.idle()
        assert not any(b"leaves" in body for body in beast.bodies)


async def test_no_place_in_time_is_503_with_a_pause() -> None:
    beast = narrow()
    async with running(beast, auth=OPEN, admission=AdmissionSection(max_wait_secs=0.05)) as rig:
        await rig.sees_loaded("beast", "alpha")
        async with asked(rig, 1):
            answer = await rig.post(CHAT, chat(), client(2))
            assert (answer.status, int(answer.headers["retry-after"])) == (503, 5)
            assert "places" in answer.error["message"]
            beast.script("alpha").gate.set()


async def test_a_hot_model_is_loaded_once_more_where_memory_is_free() -> None:
    beast, quad = narrow(), FakeNeuron("quad")
    async with running(beast, quad, auth=OPEN, admission=AdmissionSection(replicate_after=2)) as rig:
        await rig.sees_loaded("beast", "alpha")
        async with asked(rig, 3):
            await rig.sees_loaded("quad", "alpha")
            await rig.until(lambda: len(quad.bodies) == 2)
            beast.script("alpha").gate.set()
        assert len(quad.loads) == 1


async def test_a_conversation_stays_where_its_beginning_is_known() -> None:
    beast, quad = FakeNeuron("beast"), FakeNeuron("quad")
    for neuron in (beast, quad):
        neuron.put("alpha")
    async with running(beast, quad) as rig:
        for name in ("beast", "quad"):
            await rig.sees_loaded(name, "alpha")
        first = chat(messages=[{"role": "user", "content": "tell me " * 200}])
        gate = beast.hold("alpha", gate_at=0)
        async with rig.open(CHAT, chat(stream=True)), rig.open(CHAT, {**first, "stream": True}) as answer:
            assert answer.headers["x-cortex-neuron"] == "quad", "beast was the busier one"
            gate.set()
            await answer.read(1 << 20)
        await rig.idle()
        longer = [*first["messages"], {"role": "assistant", "content": "so"}, {"role": "user", "content": "and?"}]
        assert (await rig.post(CHAT, chat(messages=longer))).headers["x-cortex-neuron"] == "quad"
        assert (await rig.post(CHAT, chat())).headers["x-cortex-neuron"] == "beast"


async def test_a_sick_fleet_is_not_asked_twice_as_much() -> None:
    beast, quad = FakeNeuron("beast"), FakeNeuron("quad")
    for neuron in (beast, quad):
        neuron.put("alpha")
        neuron.script("alpha").refuse = EngineFailed("broken")
    async with running(beast, quad) as rig:
        for name in ("beast", "quad"):
            await rig.sees_loaded(name, "alpha")
        for _ in range(60):
            assert (await rig.post(CHAT, chat())).status == 500
        assert len(beast.bodies) + len(quad.bodies) <= 60 + 20 + 60 * 0.2 + 1


async def test_an_operator_drains_a_host_and_takes_it_back(rig: Rig, beast: FakeNeuron) -> None:
    gate = beast.hold("alpha")
    async with rig.open(CHAT, chat(stream=True)) as response:
        assert response.status == 200
        left = await rig.post("/api/admin/hosts/beast/drain", b"")
        assert left.json == {"host": "beast", "duty": "drained", "in_flight": 1, "kept": False}
        refused = await rig.post(CHAT, chat())
        assert (refused.status, "beast is drained" in refused.error["message"]) == (503, True)
        gate.set()
        waited = await rig.post("/api/admin/hosts/beast/drain", {"wait_seconds": 5})
        assert waited.json["in_flight"] == 0
        assert (await response.read(1 << 20)).endswith(b"data: [DONE]\n\n")
    assert (await rig.ask("GET", "/api/fleet")).json["hosts"][0]["duty"] == "drained"
    assert (await rig.post("/api/admin/hosts/beast/uncordon", b"")).json["duty"] == "active"
    assert (await rig.post(CHAT, chat())).status == 200
    assert (await rig.post("/api/admin/hosts/beast/cordon", b"")).json["duty"] == "cordoned"
    assert rig.gateway.board.fleet.hosts["beast"].duty is Duty.CORDONED
    assert (await rig.post(CHAT, chat())).status == 200
    assert (await rig.post(CHAT, chat("beta"))).status == 503
    unknown = await rig.post("/api/admin/hosts/best/drain", b"")
    assert (unknown.status, "beast" in unknown.error["message"]) == (400, True)


async def test_models_are_loaded_unloaded_and_pinned_by_hand(rig: Rig, beast: FakeNeuron) -> None:
    begun = await rig.post("/api/admin/models/load", {"model": "beta"})
    assert (begun.status, begun.json["host"], begun.json["evict"]) == (202, "beast", [])
    await rig.sees_loaded("beast", "beta")
    assert (await rig.post("/api/admin/models/load", {"model": "beta", "host": "beast"})).json["status"] == "loaded"
    for model in ("alpha", "beta"):
        pinned = await rig.post("/api/admin/models/pin", {"model": model, "host": "beast"})
        assert pinned.json == {"model": model, "pinned_on": ["beast"], "kept": False}
    assert (await rig.post(CHAT, chat("gamma"))).status == 503
    await rig.post("/api/admin/models/unpin", {"model": "beta", "host": "beast"})
    assert (await rig.post(CHAT, chat("gamma"))).status == 200
    gate = beast.hold("alpha")
    async with rig.open(CHAT, chat(stream=True)) as response:
        assert response.status == 200
        await rig.until(lambda: beast.running == 1)
        busy = await rig.post("/api/admin/models/unload", {"model": "alpha", "drain_seconds": 0})
        assert (busy.status, busy.error["code"]) == (409, "model_busy")
        gate.set()
        await response.read(1 << 20)
    gone = await rig.post("/api/admin/models/unload", {"model": "small"})
    assert gone.json == {"model": "alpha", "status": "unloaded", "hosts": ["beast"]}
    assert "alpha" not in rig.gateway.board.fleet.hosts["beast"].models
    again = await rig.post("/api/admin/models/unload", {"model": "alpha"})
    assert (again.status, again.error["param"]) == (400, "model")


async def test_only_this_machine_may_do_so_without_keys() -> None:
    async with running(FakeNeuron("beast"), auth=OPEN) as rig:
        answer = await rig.post("/api/admin/hosts/beast/drain", b"", client(1))
        assert (answer.status, answer.error["code"]) == (403, "permission_denied")
        assert rig.gateway.board.fleet.hosts["beast"].duty is Duty.ACTIVE
