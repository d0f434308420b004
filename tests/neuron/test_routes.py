"""What every management route answers, field by field, and who is refused."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.neuron.rig import Rig, running

pytestmark = pytest.mark.anyio


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as rig:
        yield rig


async def test_discovery_says_what_the_host_is(rig: Rig) -> None:
    found = await rig.get("/discovery")
    assert found["devices"] == [
        {"index": 0, "name": "fake 0", "kind": "cpu", "vram_total_mb": 0, "compute_capability": None}
    ]
    assert found["harnesses"] == ["candle"]
    assert found["architectures"] == ["llama"]
    assert found["epoch"] == (await rig.get("/health"))["epoch"]
    assert {"hostname", "os", "kernel", "version", "cuda_version", "driver_version"} <= found.keys()


async def test_health_is_complete_from_the_first_answer(rig: Rig) -> None:
    health = await rig.get("/health")
    assert health["status"] == "ok"
    assert health["devices"] == [
        {
            "index": 0,
            "vram_used_mb": 0,
            "vram_free_mb": 1000,
            "reserved_mb": 0,
            "utilization_pct": None,
            "temp_c": None,
        }
    ]
    assert health["models"] == []
    assert health["activation"] == {
        "state": "ready",
        "pending": [],
        "in_progress": None,
        "completed": [],
        "failed": [],
    }
    assert (await rig.get("/ready")) == {"status": "ok"}


async def test_a_load_is_answered_when_the_model_is_loaded(rig: Rig) -> None:
    answer = await rig.load("alpha", quant=None)
    assert answer.status == 200
    assert answer.json["status"] == "loaded"
    entry = await rig.get("/models/alpha")
    assert entry == (await rig.get("/models"))[0]
    assert entry["status"] == "loaded"
    assert entry["context_length"] == 4096
    assert entry["bytes"] > 40 * 1024 * 1024
    health = await rig.get("/health")
    assert health["revision"] == answer.json["revision"]
    assert health["models"][0] == {
        "id": "alpha",
        "in_flight": 0,
        "queue_depth": 0,
        "max_in_flight": 4,
        "max_queue_depth": 2,
        "kv_blocks_used": 0,
        "kv_blocks_total": 64,
        "tok_s_prefill": None,
        "tok_s_decode": None,
    }
    assert health["devices"][0]["reserved_mb"] == entry["bytes"] // (1 << 20)


async def test_an_unload_frees_the_memory_and_forgets_the_model(rig: Rig) -> None:
    await rig.load("alpha")
    answer = await rig.unload("alpha")
    assert answer.status == 200
    assert answer.json == {
        "status": "unloaded",
        "model_id": "alpha",
        "revision": (await rig.get("/health"))["revision"],
    }
    assert await rig.get("/models") == []
    assert rig.engine().closed
    assert (await rig.get("/health"))["devices"][0]["reserved_mb"] == 0
    assert (await rig.unload("alpha")).status == 404


@pytest.mark.parametrize("name", ["org%2Fmodel-1", "org/model-1"])
async def test_names_with_slashes_are_found_in_both_spellings(rig: Rig, name: str) -> None:
    await rig.load("org/model-1", source=rig.source("alpha"))
    assert (await rig.get(f"/models/{name}"))["id"] == "org/model-1"
    assert (await rig.get(f"/v1/models/{name}"))["max_model_len"] == 4096
    assert (await rig.get("/models/org%2Fmodel-1/endpoint")) == {"url": rig.neuron.url}


async def test_an_unknown_model_is_404_with_near_names(rig: Rig) -> None:
    await rig.load("org/alpha-7b", source=rig.source("alpha"))
    for path in ("/models/alpha-7", "/models/alpha-7/endpoint", "/v1/models/alpha-7"):
        answer = await rig.ask("GET", path)
        assert answer.status == 404
        assert answer.error["code"] == "model_not_found"
        assert answer.error["nearest"] == ["org/alpha-7b"]
    answer = await rig.chat("alpha-7")
    assert answer.status == 404
    assert "org/alpha-7b" in answer.error["message"]


async def test_the_version_names_the_engine(rig: Rig) -> None:
    assert {"package_version", "candle_version", "features", "simd"} <= (await rig.get("/version")).keys()


async def test_only_loaded_models_are_listed_for_clients(rig: Rig) -> None:
    assert (await rig.load("broken")).status == 422
    await rig.load("alpha")
    listed = await rig.get("/v1/models")
    assert [card["id"] for card in listed["data"]] == ["alpha"]
    assert listed["data"][0]["created"] > 0


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"{", "malformed_json", None),
        ({}, "invalid_value", "model_id"),
        ({"model_id": ""}, "invalid_value", "model_id"),
        ({"model_id": "x", "modle": 1}, "unsupported_parameter", "modle"),
        ({"model_id": "x", "harness": "vllm"}, "unsupported_parameter", "harness"),
        ({"model_id": "x", "tensor_parallel": 2}, "unsupported_parameter", "tensor_parallel"),
        ({"model_id": "x", "devices": [0, 1]}, "unsupported_parameter", "devices"),
        ({"model_id": "x", "devices": [7]}, "invalid_value", "devices"),
        ({"model_id": "x", "context_length": 0}, "invalid_value", "context_length"),
        ({"model_id": "x", "evict": ["x"]}, "invalid_value", "evict"),
        ({"model_id": "x", "revision": 3}, "invalid_value", "revision"),
    ],
)
async def test_a_load_that_makes_no_sense_is_refused_by_name(rig: Rig, body: object, code: str, param: str) -> None:
    answer = await rig.ask("POST", "/models/load", body)
    assert answer.status == 400
    assert answer.error["code"] == code
    assert answer.error["param"] == param
    assert await rig.get("/models") == []


async def test_web_pages_are_refused_on_every_route(rig: Rig) -> None:
    for method, path in rig.neuron.app.routes():
        path = path.replace(":id", "x").replace("*id", "x")
        answer = await rig.ask(method, path, b"{}" if method == "POST" else None, {"origin": "http://evil.example"})
        assert answer.status == 401, path


async def test_unknown_paths_and_methods_have_the_same_envelope(rig: Rig) -> None:
    assert (await rig.ask("GET", "/nothing")).error["code"] == "route_not_found"
    answer = await rig.ask("GET", "/models/load/x/endpoint/y")
    assert answer.status == 404
    answer = await rig.ask("POST", "/health", b"{}")
    assert answer.status == 405
    assert "GET" in answer.headers["allow"]
