"""How the gateway learns what hosts are and have: events, polling, restarts, silence; and their errors."""

import msgspec
import pytest

from cortex.errors import InsufficientMemory, ModelFileInvalid, PlanStale, ServiceUnavailable, UpstreamError
from cortex.fleet.state import Fleet, Host, Reach
from cortex.fleet.transitions import event_seen
from cortex.gateway.board import Board
from cortex.gateway.neurons import NeuronClient, NoSuchRoute, load_error, management_error
from cortex.gateway.poller import Poller
from cortex.http import UpstreamClient
from cortex.protocol import ModelEntry, NeuronEvent
from cortex.types import ModelState
from tests.fakes.neuron import FakeNeuron
from tests.gateway.rig import running

pytestmark = pytest.mark.anyio


async def test_events_tell_of_changes_without_a_poll() -> None:
    beast = FakeNeuron("beast")
    async with running(beast, poll_secs=60.0) as rig:
        beast.put("alpha")
        await rig.sees_loaded("beast", "alpha")
        await rig.sees(lambda fleet: fleet.hosts["beast"].devices[0].free_bytes == 60 << 20)
        beast.put("alpha", status=ModelState.ABSENT)
        await rig.sees(lambda fleet: "alpha" not in fleet.hosts["beast"].models)


async def test_a_host_without_events_is_polled() -> None:
    beast = FakeNeuron("beast")
    beast.has_events = False
    async with running(beast, poll_secs=0.02) as rig:
        beast.put("alpha")
        await rig.sees_loaded("beast", "alpha")


async def test_a_restart_voids_what_was_known_of_its_models() -> None:
    beast = FakeNeuron("beast")
    beast.put("alpha")
    async with running(beast) as rig:
        await rig.sees_loaded("beast", "alpha")
        await beast.die()
        await rig.sees(lambda fleet: fleet.hosts["beast"].reach is Reach.DOWN)
        await beast.start()
        await rig.sees(lambda fleet: fleet.hosts["beast"].reach is Reach.UP)
        assert rig.gateway.board.fleet.hosts["beast"].models == {}


async def test_a_host_that_answers_nonsense_is_down_and_no_bother_to_others() -> None:
    odd, good = FakeNeuron("odd"), FakeNeuron("good")
    odd.deaf = True
    good.put("alpha")
    async with running(odd, good) as rig:
        await rig.sees_loaded("good", "alpha")
        await rig.sees(lambda fleet: fleet.hosts["odd"].reach is Reach.DOWN)
        odd.deaf = False
        await rig.sees(lambda fleet: fleet.hosts["odd"].reach is Reach.UP)


async def test_an_answer_that_events_have_overtaken_is_not_believed() -> None:
    """While `/models` was on its way the event of a later revision arrived."""
    beast = FakeNeuron("beast")
    await beast.start()
    async with UpstreamClient() as client:
        board = Board(Fleet(hosts={"beast": Host(name="beast", endpoint=beast.endpoint)}))
        poller = Poller(board, NeuronClient(client), poll_seconds=60.0, on_silent=lambda _name: None)
        assert await poller.refresh("beast")
        entry = ModelEntry(id="alpha", status=ModelState.LOADED)
        event = NeuronEvent(kind="model", epoch="beast-1", revision=beast.revision + 1, models=(entry,))
        board.apply(event_seen, "beast", event)
        assert await poller.refresh("beast")
        assert board.fleet.hosts["beast"].has("alpha", ModelState.LOADED)
        beast.revision += 2
        assert await poller.refresh("beast")
        assert board.fleet.hosts["beast"].models == {}
    await beast.die()


def envelope(code: str, message: str = "words", **more: object) -> bytes:
    return msgspec.json.encode({"error": {"message": message, "type": "t", "code": code, **more}})


def test_a_neurons_errors_keep_their_class_words_and_numbers() -> None:
    error = management_error(503, envelope("insufficient_memory", needed_bytes=5, free_bytes=3), retry_after=9.0)
    assert isinstance(error, InsufficientMemory)
    assert (error.message, error.retry_after, error.extras) == ("words", 9.0, {"needed_bytes": 5, "free_bytes": 3})
    assert isinstance(management_error(409, envelope("plan_stale")), PlanStale)
    assert isinstance(management_error(422, envelope("model_file_invalid")), ModelFileInvalid)
    assert len(management_error(422, envelope("load_failed", "x" * 9000)).message) == 500


@pytest.mark.parametrize("body", [b"<html>", b"", b"{}", b'{"error":"words"}', b'{"error":{"code":7}}', b"\xff"])
def test_what_is_no_protocol_is_told_in_our_words(body: bytes) -> None:
    assert type(management_error(500, body)) is UpstreamError
    assert isinstance(management_error(503, body, retry_after=3.0), ServiceUnavailable)
    assert isinstance(management_error(404, body), NoSuchRoute)
    assert "html" not in management_error(500, body).message


def test_an_old_neurons_missing_route_is_known_by_its_code_too() -> None:
    assert isinstance(management_error(404, envelope("route_not_found")), NoSuchRoute)


def test_the_failure_that_an_entry_tells() -> None:
    assert isinstance(load_error("model_file_invalid", "cut"), ModelFileInvalid)
    assert isinstance(load_error("new_kind", "x"), ServiceUnavailable)
    assert isinstance(load_error(None, "x"), ServiceUnavailable)
