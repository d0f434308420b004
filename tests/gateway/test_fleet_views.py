"""What the gateway tells: the merged list of models, health, the fleet for `cortex status`."""

import msgspec
import pytest

from cortex.cli.status import print_status
from cortex.config import ModelProfile, ModelsConfig
from cortex.config.models import Cost, Limit
from cortex.errors import ModelFileInvalid
from cortex.fleet.state import Reach
from cortex.types import ModelState
from tests.fakes.neuron import FakeNeuron
from tests.gateway.rig import CHAT, Rig, chat, running

pytestmark = pytest.mark.anyio
ANTHROPIC = {"anthropic-version": "2023-06-01"}


async def test_the_list_is_catalogue_then_the_hosts_own_then_aliases(rig: Rig, beast: FakeNeuron) -> None:
    beast.put("org/own")
    await rig.sees_loaded("beast", "org/own")
    listed = (await rig.ask("GET", "/v1/models?limit=1000")).json
    assert listed["object"] == "list"
    assert [entry["id"] for entry in listed["data"]] == ["alpha", "beta", "gamma", "org/own", "small"]
    alpha, beta, *_, small = listed["data"]
    assert (alpha["object"], alpha["owned_by"], alpha["loaded"]) == ("model", "cortex", True)
    assert alpha["created"] > 1_700_000_000
    assert alpha["max_model_len"] == alpha["limit"]["context"] == 4096
    assert alpha["locations"] == [{"node": "beast", "status": "loaded", "vram_estimate_mb": 40}]
    assert alpha["feasible_on"] == ["beast"]
    assert (beta["loaded"], beta["locations"], beta["feasible_on"]) == (False, [], ["beast"])
    assert (small["alias_of"], small["loaded"]) == ("alpha", True)
    assert "cost" not in alpha


async def test_the_profile_is_advertised() -> None:
    profile = ModelProfile(
        id="org/priced", limit=Limit(context=2048, output=512), cost=Cost(input=0.0, output=1.5), capabilities=("text",)
    )
    async with running(FakeNeuron("beast"), models=ModelsConfig(models=(profile,))) as rig:
        for path in ("/v1/models/org%2Fpriced", "/v1/models/org/priced"):
            entry = (await rig.ask("GET", path)).json
            assert entry["id"] == "org/priced"
            assert entry["limit"] == {"context": 2048, "output": 512}
            assert entry["cost"] == {"input": 0.0, "output": 1.5}
            assert entry["capabilities"] == ["text"]


async def test_the_list_in_anthropics_shape(rig: Rig) -> None:
    listed = (await rig.ask("GET", "/v1/models", ANTHROPIC)).json
    assert [entry["id"] for entry in listed["data"]] == ["alpha", "beta", "gamma", "small"]
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == ("alpha", "small", False)
    one = (await rig.ask("GET", "/v1/models/small", ANTHROPIC)).json
    assert (one["type"], one["id"]) == ("model", "small")


@pytest.mark.parametrize("headers", [{}, ANTHROPIC])
async def test_an_unknown_entry_is_404_with_near_names(rig: Rig, headers: dict[str, str]) -> None:
    answer = await rig.ask("GET", "/v1/models/alpah", headers)
    assert (answer.status, "alpha" in answer.error["message"]) == (404, True)


async def test_health_counts_hosts_and_names_what_cannot_be_served(rig: Rig, beast: FakeNeuron) -> None:
    for path in ("/", "/health"):
        assert (await rig.ask("GET", path)).json == {
            "status": "ok",
            "nodes": {"healthy": 1, "total": 1},
            "unservable": [],
        }
    assert (await rig.ask("HEAD", "/")).status == 200
    beast.put("beta", status=ModelState.FAILED, error="the file is cut short", error_code="model_file_invalid")
    await rig.sees(lambda fleet: fleet.hosts["beast"].has("beta", ModelState.FAILED))
    told = (await rig.ask("GET", "/health")).json["unservable"]
    assert told == [
        {"node": "beast", "model": "beta", "reason": "model_file_invalid", "detail": "the file is cut short"}
    ]


async def test_the_clients_telemetry_is_accepted_and_dropped(rig: Rig) -> None:
    assert (await rig.post("/api/event_logging/batch", {"events": []})).json == {}


async def test_the_fleet_shows_hosts_models_loads_and_failures(rig: Rig, beast: FakeNeuron) -> None:
    beast.load_gate.clear()
    fleet = (await rig.ask("GET", "/api/fleet")).json
    (host,) = fleet["hosts"]
    assert (host["name"], host["health"], host["version"]) == ("beast", "up", "0.1")
    assert host["devices"][0]["used_bytes"] == 40 << 20
    assert host["devices"][0]["total_bytes"] == 100 << 20
    assert [(model["id"], model["status"]) for model in host["models"]] == [("alpha", "loaded")]
    assert [(model["id"], model["alias_of"]) for model in fleet["models"]][-1] == ("small", "alpha")
    async with rig.open(CHAT, chat("beta", stream=True)) as response:
        assert response.status == 200
        fleet = (await rig.ask("GET", "/api/fleet")).json
        assert [(load["model"], load["host"]) for load in fleet["loads"]] == [("beta", "beast")]
        loading = next(model["loading"] for model in fleet["models"] if model["id"] == "beta")
        assert loading == {"state": "loading", "node": "beast", "progress": 0.25, "eta_seconds": 3.0}
    beast.load_error = ModelFileInvalid("cut short")
    beast.load_gate.set()
    await rig.sees(lambda fleet: bool(fleet.failures))
    (failure,) = (await rig.ask("GET", "/api/fleet")).json["failures"]
    assert (failure["host"], failure["model"], failure["code"]) == ("beast", "beta", "model_file_invalid")


async def test_nothing_is_loaded_on_a_host_that_went_away(rig: Rig, beast: FakeNeuron) -> None:
    assert (await rig.ask("GET", "/api/fleet")).json["models"][0]["loaded_on"] == ["beast"]
    await beast.die()
    await rig.sees(lambda fleet: fleet.hosts["beast"].reach is Reach.DOWN)
    assert (await rig.ask("GET", "/api/fleet")).json["models"][0]["loaded_on"] == []


async def test_the_status_command_can_show_it(rig: Rig, beast: FakeNeuron, capsys: pytest.CaptureFixture[str]) -> None:
    beast.load_gate.clear()
    async with rig.open(CHAT, chat("beta", stream=True)) as response:
        assert response.status == 200
        answer = await rig.ask("GET", "/api/fleet")
    print_status(msgspec.json.decode(answer.body), now=1e9)
    shown = capsys.readouterr().out
    assert "alpha" in shown
    assert "beast" in shown
    assert "25%" in shown
    assert "3 s left" in shown
    beast.load_gate.set()
