"""How long a model takes from the load request to ready, its file being in the page cache.

Run: make bench, or: pytest benches/test_load.py --benchmark-enable
Aim: under 2 s for the starter model.
"""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from cortex.ops.starter import cached_starter
from tests.e2e.daemons import Daemon, free_port

MODEL = "starter"


@pytest.fixture
def neuron(tmp_path: Path) -> Iterator[str]:
    """One host daemon without a model."""
    port = free_port()
    command = ["cortex.cli.neuron", "serve", "--host", "127.0.0.1", "--port", str(port)]
    with Daemon(command, tmp_path / "log") as daemon:
        daemon.wait_for(f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}"
        assert daemon.stop() == 0, daemon.output()


def test_load_until_ready(benchmark: BenchmarkFixture, neuron: str) -> None:
    """`POST /models/load` that waits; it answers once the model has proved itself with one token."""
    weights = cached_starter()
    if not weights.is_file():
        pytest.skip("the starter model is not in the cache: run make model")
    weights.read_bytes()  # into the page cache

    def load() -> None:
        answer = post(f"{neuron}/models/load", {"model_id": MODEL, "source": str(weights)})
        assert answer["status"] == "loaded"

    def unload() -> None:
        post(f"{neuron}/models/unload", {"model_id": MODEL})

    load()
    benchmark.pedantic(load, setup=unload, rounds=10)


def post(url: str, body: dict[str, str]) -> dict[str, str]:
    """The JSON of a POST."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        answer = json.load(response)
    assert isinstance(answer, dict)
    return answer
