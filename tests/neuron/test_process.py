"""`neuron serve` as a process: quick to listen, ends with 0 on SIGTERM, with words for those it has to cut."""

import json
import signal
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cortex.ops.starter import cached_starter
from tests.e2e.daemons import Daemon, free_port

QUESTION = {"role": "user", "content": "What is the capital of France?"}


@contextmanager
def neuron(folder: Path, **environ: str) -> Iterator[tuple[Daemon, str]]:
    port = free_port()
    command = ["cortex.cli.neuron", "serve", "--host", "127.0.0.1", "--port", str(port)]
    base = f"http://127.0.0.1:{port}"
    with Daemon(command, folder / "log", {"HF_HUB_OFFLINE": "1", **environ}) as daemon:
        daemon.wait_for(f"{base}/health")
        yield daemon, base


def test_it_listens_at_once_and_ends_with_zero(tmp_path: Path) -> None:
    missing = json.dumps([{"model_id": "nobody/no-such-model"}])
    with neuron(tmp_path, NEURON_DEFAULT_MODELS=missing) as (daemon, base):
        daemon.wait_for(f"{base}/health", lambda health: health["activation"]["failed"])
        began = time.monotonic()
        assert daemon.stop() == 0, daemon.output()
    assert time.monotonic() - began < 5
    assert "Traceback" not in daemon.output()
    assert "nobody/no-such-model" in daemon.output()


@pytest.mark.parametrize("module", ["cortex", "neuron"])
def test_a_second_signal_hurries_and_leaves_no_traceback(tmp_path: Path, module: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    host, _, port = address.partition(":")
    where = {
        "cortex": ["--listen", address, "--metrics-listen", f"127.0.0.1:{free_port()}"],
        "neuron": ["--host", host, "--port", port],
    }
    with Daemon([f"cortex.cli.{module}", "serve", *where[module]], tmp_path / "log") as daemon:
        daemon.wait_for(f"http://{address}/health")
        daemon.process.send_signal(signal.SIGTERM)
        daemon.process.send_signal(signal.SIGINT)
        assert daemon.stop() == 0, daemon.output()
    assert "Traceback" not in daemon.output()


@pytest.mark.real
def test_a_stream_that_outlasts_the_drain_is_told_so(tmp_path: Path) -> None:
    if not cached_starter().is_file():
        pytest.skip("the starter model is not in the cache: run make model")
    model = json.dumps([{"model_id": "starter", "source": str(cached_starter())}])
    with neuron(tmp_path, NEURON_DEFAULT_MODELS=model, NEURON_DRAIN_SECS="0.5") as (daemon, base):
        daemon.wait_for(f"{base}/v1/models", lambda models: models["data"])
        body = {"model": "starter", "messages": [QUESTION], "stream": True, "max_tokens": 4000, "ignore_eos": True}
        with urllib.request.urlopen(f"{base}/v1/chat/completions", json.dumps(body).encode(), timeout=30) as stream:
            first_words(stream)
            daemon.process.terminate()
            rest = stream.read().decode()
        assert daemon.stop() == 0, daemon.output()
    assert "Traceback" not in daemon.output()
    last = json.loads(rest.strip().rpartition("data: ")[2])
    assert last["error"]["code"] == "engine_failed"
    assert "cancelled before its end" in last["error"]["message"]


def first_words(stream: Any) -> None:
    """Read up to the first generated text."""
    for line in stream:
        if line.startswith(b"data: ") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
            return
