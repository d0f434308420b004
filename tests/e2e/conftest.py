"""One real `cortex up` on the starter model for all end-to-end tests that only ask it things."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anthropic
import openai
import pytest

from cortex.ops.starter import STARTER_ID, cached_starter
from tests.e2e.daemons import Daemon, free_port

QUESTION = "What is the capital of France? Answer with the name of the city."


@dataclass(frozen=True)
class Up:
    """Where a running `cortex up` listens."""

    daemon: Daemon
    gateway: str
    metrics: str
    neuron: str
    model: str = STARTER_ID


@pytest.fixture(scope="session")
def starter() -> Path:
    """The real model's file; skipped, saying so, where `make model` has not fetched it."""
    path = cached_starter()
    if not path.is_file():
        pytest.skip("the starter model is not in the cache: run make model")
    return path


@pytest.fixture(scope="session")
def up(starter: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Gateway and neuron in one process, the starter model loaded."""
    gateway, metrics, neuron = free_port(), free_port(), free_port()
    command = ["cortex.cli.cortex", "up", str(starter), "--name", STARTER_ID, "--listen", f"127.0.0.1:{gateway}"]
    command += ["--metrics-listen", f"127.0.0.1:{metrics}", "--neuron-port", str(neuron)]
    with Daemon(command, tmp_path_factory.mktemp("up") / "log") as daemon:
        base = f"http://127.0.0.1:{gateway}"
        daemon.wait_for(f"{base}/v1/models", lambda value: any(entry["loaded"] for entry in value["data"]))
        yield Up(daemon, base, f"http://127.0.0.1:{metrics}/metrics", f"http://127.0.0.1:{neuron}")
        assert daemon.stop() == 0, daemon.output()


@pytest.fixture
def openai_client(up: Up) -> Iterator[openai.OpenAI]:
    """The unmodified SDK, pointed at the gateway; it never repeats a request by itself."""
    with openai.OpenAI(base_url=f"{up.gateway}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture
def anthropic_client(up: Up) -> Iterator[anthropic.Anthropic]:
    """The unmodified SDK, pointed at the gateway; it never repeats a request by itself."""
    with anthropic.Anthropic(base_url=up.gateway, api_key="none", max_retries=0, timeout=60) as client:
        yield client
