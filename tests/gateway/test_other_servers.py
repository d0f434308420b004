"""Servers that are not ours (`kind = "openai"`): in the catalogue and the routing, without a life of models there."""

import anthropic
import msgspec
import pytest

from cortex.config import ModelsConfig
from cortex.errors import EngineFailed, RequestError
from cortex.fleet.state import Reach
from tests.fakes.neuron import FakeNeuron
from tests.fakes.server import KEY, FakeServer
from tests.gateway.rig import (
    CHAT,
    COMPLETIONS,
    MESSAGES,
    RESPONSES,
    TEXT,
    body_for,
    chat,
    message,
    running,
    soon,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server() -> FakeServer:
    """It serves two models, of which one is in no catalogue."""
    found = FakeServer("cloud")
    found.put("alpha")
    found.put("their/own")
    return found


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, MESSAGES, RESPONSES])
async def test_its_models_are_served_in_every_dialect(server: FakeServer, path: str, stream: bool) -> None:
    async with running(server) as rig:
        answer = await rig.post(path, body_for(path, "their/own", stream=stream))
        assert answer.status == 200
        assert answer.headers["x-cortex-neuron"] == "cloud"
        assert TEXT.split()[-1].encode() in answer.body
        assert server.headers[-1]["authorization"] == f"Bearer {KEY}"
        await rig.idle()
        assert await rig.metric("cortex_requests_total", model="their/own", neuron="cloud", outcome="ok") == 1


async def test_the_lists_and_the_picture_of_the_fleet_have_it(server: FakeServer) -> None:
    async with running(server) as rig:
        cards = {card["id"]: card for card in (await rig.ask("GET", "/v1/models")).json["data"]}
        assert (cards["their/own"]["loaded"], cards["their/own"]["max_model_len"]) == (True, 2048)
        assert cards["their/own"]["feasible_on"] == ["cloud"]
        assert not cards["beta"]["loaded"]
        host = (await rig.ask("GET", "/api/fleet")).json["hosts"][0]
        assert (host["kind"], host["health"], host["devices"]) == ("openai", "up", [])
        assert [model["id"] for model in host["models"]] == ["alpha", "their/own"]
        assert (await rig.ask("GET", "/health")).json["status"] == "ok"


async def test_only_the_models_that_are_wanted_are_taken() -> None:
    server = FakeServer("cloud", only=("their/*", "none"))
    server.put("alpha")
    server.put("their/own")
    async with running(server) as rig:
        assert set(rig.gateway.board.fleet.hosts["cloud"].models) == {"their/own"}


async def test_what_it_begins_or_ceases_to_serve_is_noticed(server: FakeServer) -> None:
    async with running(server) as rig:
        server.put("new")
        await rig.sees_loaded("cloud", "new")
        del server.entries["their/own"]
        await rig.sees(lambda fleet: "their/own" not in fleet.hosts["cloud"].models)
        assert (await rig.post(CHAT, chat("their/own"))).status == 404


async def test_nothing_is_ever_loaded_there(server: FakeServer) -> None:
    async with running(server) as rig:
        answer = await rig.post(CHAT, chat("beta"))
        assert (answer.status, answer.error["code"]) == (422, "never_fits")
        assert server.loads == []


async def test_a_catalogue_model_goes_to_a_neuron_when_the_server_fails(server: FakeServer, beast: FakeNeuron) -> None:
    del beast.entries["alpha"]
    server.script("alpha").refuse = EngineFailed("secret")
    async with running(server, beast) as rig:
        answer = await rig.post(CHAT, chat())
        assert (answer.status, answer.headers["x-cortex-neuron"]) == (200, "beast")
        assert [load.model_id for load in beast.loads] == ["alpha"]


async def test_one_that_goes_away_is_down_and_comes_back(server: FakeServer) -> None:
    async with running(server) as rig:
        await server.die()
        answer = await rig.post(CHAT, chat("their/own"))
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        listed = await rig.post(CHAT, chat("alpha"))
        assert (listed.status, "cloud is down" in listed.error["message"]) == (503, True)
        server.put("their/own")
        await server.start()
        await rig.sees(lambda fleet: fleet.hosts["cloud"].reach is Reach.UP)
        assert (await rig.post(CHAT, chat("their/own"))).status == 200


async def test_one_that_talks_nonsense_is_down_after_some_looks(server: FakeServer) -> None:
    async with running(server) as rig:
        server.deaf = True
        await soon(rig.sees(lambda fleet: fleet.hosts["cloud"].reach is Reach.DOWN))


async def test_it_is_polled_and_not_asked_in_a_busy_loop(server: FakeServer) -> None:
    async with running(server, poll_secs=60.0) as rig:
        for _ in range(5):
            assert (await rig.post(CHAT, chat("their/own"))).status == 200
        assert server.listings == 1


async def test_what_it_refuses_is_told_in_the_clients_dialect(server: FakeServer) -> None:
    server.script("their/own").refuse = RequestError("`top_k` must be positive")
    async with (
        running(server) as rig,
        anthropic.AsyncAnthropic(base_url=rig.gateway.url, api_key="none", max_retries=0) as claude,
    ):
        with pytest.raises(anthropic.BadRequestError, match="must be positive"):
            await claude.messages.create(**message("their/own"))
        assert len(server.bodies) == 1
        assert rig.gateway.board.fleet.hosts["cloud"].reach is Reach.UP


async def test_tokens_are_estimated_where_it_cannot_count(server: FakeServer) -> None:
    async with running(server) as rig:
        body = {"model": "their/own", "messages": message()["messages"]}
        answer = await rig.post(f"{MESSAGES}/count_tokens", body)
        assert answer.headers["x-cortex-estimate"] == "true"


@pytest.mark.parametrize(
    ("asked", "words", "sent"), [(100, 1, 100), (32000, 1, 2048 - 40), (32000, 1100, 2048 // 8), (None, 1, None)]
)
async def test_an_answer_that_cannot_fit_beside_the_prompt_is_not_asked_for(
    server: FakeServer, asked: int | None, words: int, sent: int | None
) -> None:
    """Such a server would refuse it; Claude Code asks for 32000 tokens whatever the model."""
    async with running(server) as rig:
        body = body_for(RESPONSES, "their/own", input="word " * words, max_output_tokens=asked)
        assert (await rig.post(RESPONSES, body)).status == 200
        told = msgspec.json.decode(server.bodies[0]).get("max_tokens")
        assert told == sent or (sent == 2048 - 40 and 1900 < told < 2048)


async def test_an_alias_names_a_model_of_it(server: FakeServer) -> None:
    async with running(server, models=ModelsConfig(aliases={"claude-*": "their/own"})) as rig:
        assert (await rig.post(MESSAGES, message("claude-any"))).json["model"] == "claude-any"
        assert msgspec.json.decode(server.bodies[0])["model"] == "their/own"


async def test_keys_go_only_where_they_belong(server: FakeServer, beast: FakeNeuron) -> None:
    async with running(server, beast) as rig:
        await rig.sees_loaded("beast", "alpha")
        for _ in range(4):
            await rig.post(CHAT, chat(), {"authorization": "Bearer of-the-client"})
        for headers in beast.headers:
            assert "authorization" not in headers
        for headers in server.headers:
            assert headers["authorization"] == f"Bearer {KEY}"
        assert len(beast.headers) + len(server.headers) == 4
