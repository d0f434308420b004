"""Real processes: cold load through the gateway, death in mid-stream, hosts that are not there, broken files."""

import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import openai
import pytest

from tests.e2e.conftest import QUESTION
from tests.e2e.daemons import get_json
from tests.e2e.fleet import MODEL, Fleet

pytestmark = pytest.mark.real
ASK = [{"role": "user", "content": QUESTION}]


@pytest.fixture
def fleet(tmp_path: Path, starter: Path) -> Iterator[Fleet]:
    with Fleet(tmp_path, starter, ("beast", "quadbrat")) as running:
        yield running


def client(fleet: Fleet) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{fleet.base}/v1", api_key="none", max_retries=0, timeout=60)


def test_a_request_loads_the_model_and_answers(fleet: Fleet) -> None:
    fleet.start_neuron("beast")
    fleet.start_gateway()
    answer = client(fleet).chat.completions.create(model=MODEL, messages=ASK, temperature=0, max_tokens=32)
    assert "Paris" in (answer.choices[0].message.content or "")
    with urllib.request.urlopen(f"http://127.0.0.1:{fleet.metrics}/metrics", timeout=5) as response:
        text = response.read().decode()
    assert re.search(r'^cortex_cold_starts_total\{.*model="starter".*\} 1\.0$', text, re.MULTILINE)


def test_a_death_in_mid_stream_ends_well_and_the_next_request_goes_elsewhere(fleet: Fleet) -> None:
    fleet.start_neuron("beast")
    fleet.start_neuron("quadbrat")
    fleet.start_gateway()
    stream = client(fleet).chat.completions.create(
        model=MODEL, messages=ASK, stream=True, max_tokens=4000, extra_body={"ignore_eos": True}
    )
    chunks = iter(stream)
    for _ in range(3):
        next(chunks)
    serving = [name for name in fleet.ports if get_json(f"{fleet.neuron_base(name)}/models")]
    assert len(serving) == 1
    fleet.daemons[serving[0]].kill()
    with pytest.raises(openai.APIError) as caught:
        for _ in chunks:
            pass
    assert not isinstance(caught.value, openai.APIConnectionError), "the stream was cut without an error event"
    answer = client(fleet).chat.completions.create(model=MODEL, messages=ASK, temperature=0, max_tokens=32)
    assert "Paris" in (answer.choices[0].message.content or "")


def test_a_neuron_that_comes_later_is_found(fleet: Fleet) -> None:
    fleet.start_gateway()
    with pytest.raises(openai.InternalServerError) as caught:
        client(fleet).chat.completions.create(model=MODEL, messages=ASK, max_tokens=4)
    assert caught.value.status_code == 503
    assert int(caught.value.response.headers["retry-after"]) >= 1
    fleet.start_neuron("beast")
    fleet.daemons["gateway"].wait_for(f"{fleet.base}/health", lambda health: health["nodes"]["healthy"] == 1)
    answer = client(fleet).chat.completions.create(model=MODEL, messages=ASK, temperature=0, max_tokens=32)
    assert "Paris" in (answer.choices[0].message.content or "")


def test_a_client_that_leaves_stops_the_generation(fleet: Fleet) -> None:
    fleet.start_neuron("beast")
    fleet.start_gateway()
    stream = client(fleet).chat.completions.create(
        model=MODEL, messages=ASK, stream=True, max_tokens=8000, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    stream.close()
    fleet.daemons["beast"].wait_for(
        f"{fleet.neuron_base('beast')}/health", lambda health: health["models"][0]["in_flight"] == 0
    )
    with urllib.request.urlopen(f"{fleet.neuron_base('beast')}/metrics", timeout=5) as response:
        metrics = response.read().decode()
    cancelled = re.search(r'^neuron_\w+_total\{.*"cancelled".*\} (\S+)$', metrics, re.MULTILINE)
    assert cancelled is not None, metrics
    assert float(cancelled.group(1)) == 1


def test_a_file_that_is_cut_short_is_named_and_hurts_nobody_else(fleet: Fleet, starter: Path) -> None:
    (fleet.folder / "broken.gguf").write_bytes(starter.read_bytes()[:1_000_000])
    fleet.start_neuron("beast")
    fleet.start_gateway()
    with pytest.raises(openai.APIStatusError) as caught:
        client(fleet).chat.completions.create(model="broken", messages=ASK, max_tokens=4)
    assert caught.value.status_code == 422
    assert "broken.gguf" in str(caught.value)
    answer = client(fleet).chat.completions.create(model=MODEL, messages=ASK, temperature=0, max_tokens=32)
    assert "Paris" in (answer.choices[0].message.content or "")


@pytest.mark.parametrize("module", ["cortex", "neuron"])
def test_a_taken_port_is_named(module: str) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        where = ["--listen", f"127.0.0.1:{port}"] if module == "cortex" else ["--host", "127.0.0.1", "--port", port]
        command = [sys.executable, "-m", f"cortex.cli.{module}", "serve", *where]
        result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 1
    assert port in result.stderr
    assert "Traceback" not in result.stderr
