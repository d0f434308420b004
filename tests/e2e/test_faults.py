"""Real processes: cold load through the gateway, death in mid-stream, hosts that are not there, broken files."""

import http.client
import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import anthropic
import openai
import pytest

from tests.e2e.conftest import QUESTION
from tests.e2e.daemons import free_port, get_json
from tests.e2e.fleet import MODEL, Fleet

pytestmark = pytest.mark.real
ASK = [{"role": "user", "content": QUESTION}]
STORY = [{"role": "user", "content": "Tell me a very long story about a fox, chapter by chapter."}]
TOKENS = 8000
SECONDS = 20.0


@pytest.fixture
def fleet(tmp_path: Path, starter: Path) -> Iterator[Fleet]:
    with Fleet(tmp_path, starter, ("beast", "quadbrat")) as running:
        yield running


@pytest.fixture
def client(fleet: Fleet) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{fleet.base}/v1", api_key="none", max_retries=0, timeout=60) as sdk:
        yield sdk


def test_a_request_loads_the_model_and_answers(fleet: Fleet, client: openai.OpenAI) -> None:
    fleet.start_neuron("beast")
    fleet.start_gateway()
    answer = client.chat.completions.create(model=MODEL, messages=ASK, temperature=0, max_tokens=32)
    assert "Paris" in (answer.choices[0].message.content or "")
    with urllib.request.urlopen(f"http://127.0.0.1:{fleet.metrics}/metrics", timeout=5) as response:
        text = response.read().decode()
    assert re.search(r'^cortex_cold_starts_total\{.*model="starter".*\} 1\.0$', text, re.MULTILINE)


def test_a_death_in_mid_stream_ends_well_and_the_next_request_goes_elsewhere(
    fleet: Fleet, client: openai.OpenAI
) -> None:
    fleet.start_neuron("beast")
    fleet.start_neuron("quadbrat")
    fleet.start_gateway()
    stream = client.chat.completions.create(
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
    answer = client.chat.completions.create(model=MODEL, messages=ASK, temperature=0, max_tokens=32)
    assert "Paris" in (answer.choices[0].message.content or "")


def test_a_death_in_mid_stream_is_an_error_event_for_anthropics_sdk_and_then_529(fleet: Fleet) -> None:
    fleet.start_neuron("beast")
    fleet.start_gateway()
    with anthropic.Anthropic(base_url=fleet.base, api_key="none", max_retries=0, timeout=60) as sdk:
        stream = sdk.messages.create(
            model=MODEL, messages=STORY, stream=True, max_tokens=1000, extra_body={"temperature": 0}
        )
        chunks = iter(stream)
        while next(chunks).type != "content_block_delta":
            pass
        fleet.daemons["beast"].kill()
        with pytest.raises(anthropic.APIStatusError):
            for _ in chunks:
                pass
        with pytest.raises(anthropic.APIStatusError) as caught:
            sdk.messages.create(model=MODEL, messages=ASK, max_tokens=4)
    assert caught.value.status_code == 529
    assert int(caught.value.response.headers["retry-after"]) >= 1


def test_a_neuron_that_comes_later_is_found(fleet: Fleet, client: openai.OpenAI) -> None:
    fleet.start_gateway()
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=4)
    assert caught.value.status_code == 503
    assert int(caught.value.response.headers["retry-after"]) >= 1
    fleet.start_neuron("beast")
    fleet.daemons["gateway"].wait_for(f"{fleet.base}/health", lambda health: health["nodes"]["healthy"] == 1)
    answer = client.chat.completions.create(model=MODEL, messages=ASK, temperature=0, max_tokens=32)
    assert "Paris" in (answer.choices[0].message.content or "")


def test_a_client_that_leaves_in_mid_stream_stops_the_generation(fleet: Fleet, client: openai.OpenAI) -> None:
    fleet.start_neuron("beast")
    fleet.start_gateway()
    stream = client.chat.completions.create(
        model=MODEL, messages=ASK, stream=True, max_tokens=TOKENS, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    stream.close()
    assert_stopped_early(fleet)


def test_a_client_that_leaves_before_its_answer_stops_the_generation(fleet: Fleet, client: openai.OpenAI) -> None:
    fleet.start_neuron("beast")
    fleet.start_gateway()
    client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=1)
    body = {"model": MODEL, "messages": ASK, "max_tokens": TOKENS, "ignore_eos": True}
    with closing(http.client.HTTPConnection("127.0.0.1", fleet.api, timeout=30)) as leaving:
        leaving.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        fleet.daemons["beast"].wait_for(
            f"{fleet.neuron_base('beast')}/health", lambda health: health["models"][0]["kv_blocks_used"] > 0
        )
    assert_stopped_early(fleet)


def assert_stopped_early(fleet: Fleet) -> None:
    """The engine ends the one long answer as cancelled, with a part of it generated, and steps no more."""
    deadline = time.monotonic() + SECONDS
    while engine_counter(text := neuron_metrics(fleet), "cancelled") == 0:
        assert time.monotonic() < deadline, text
        time.sleep(0.02)
    assert re.search(r'^neuron_requests_total\{.*"cancelled".*\} 1\.0$', text, re.MULTILINE), text
    assert engine_counter(text, "decode_tokens") < TOKENS
    assert engine_counter(neuron_metrics(fleet), "steps") == engine_counter(text, "steps")


def neuron_metrics(fleet: Fleet) -> str:
    with urllib.request.urlopen(f"{fleet.neuron_base('beast')}/metrics", timeout=5) as response:
        return str(response.read().decode())


def engine_counter(text: str, name: str) -> float:
    found = re.search(rf"^neuron_engine_{name}_total\{{.*\}} (\S+)$", text, re.MULTILINE)
    assert found is not None, text
    return float(found.group(1))


def cut_short(weights: bytes) -> bytes:
    return weights[:1_000_000]


def lying(weights: bytes) -> bytes:
    """The count of tensors, 64 bits after magic and version, says far more than the file can hold."""
    return weights[:8] + (1 << 60).to_bytes(8, "little") + weights[16:]


@pytest.mark.parametrize("spoil", [cut_short, lying])
def test_a_broken_file_is_named_and_hurts_nobody_else(
    fleet: Fleet, client: openai.OpenAI, starter: Path, spoil: Callable[[bytes], bytes]
) -> None:
    (fleet.folder / "broken.gguf").write_bytes(spoil(starter.read_bytes()))
    fleet.start_neuron("beast")
    fleet.start_gateway()
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model="broken", messages=ASK, max_tokens=4)
    assert caught.value.status_code == 422
    assert "broken.gguf" in str(caught.value)
    answer = client.chat.completions.create(model=MODEL, messages=ASK, temperature=0, max_tokens=32)
    assert "Paris" in (answer.choices[0].message.content or "")


@pytest.mark.parametrize("module", ["cortex", "neuron"])
def test_a_taken_port_is_named(module: str) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        where = {
            "cortex": ["--listen", f"127.0.0.1:{port}", "--metrics-listen", f"127.0.0.1:{free_port()}"],
            "neuron": ["--host", "127.0.0.1", "--port", port],
        }
        command = [sys.executable, "-m", f"cortex.cli.{module}", "serve", *where[module]]
        result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 1
    assert port in result.stderr
    assert "Traceback" not in result.stderr
