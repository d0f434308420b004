"""Real processes: an engine that stops stepping, or whose thread dies, costs its model and not the daemon; the gateway
hears of it, and asks another host, or says in the client's dialect that nobody can serve."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.daemons import Daemon, get_json
from tests.e2e.fleet import MODEL, Fleet
from tests.fakes.engine import PIECES

ASK: Any = [{"role": "user", "content": "capital of France?"}]


class BadFleet(Fleet):
    """Hosts whose engines are fakes at the seam below the neuron."""

    def start_bad(self, name: str, way: str) -> Daemon:
        """A host with the model loaded."""
        command = ["tests.fakes.stalling_neuron", str(self.ports[name]), way]
        daemon = self._stack.enter_context(Daemon(command, self.folder / f"{name}.log"))
        self.daemons[name] = daemon
        daemon.wait_for(f"{self.neuron_base(name)}/health")
        body = json.dumps({"model_id": MODEL, "source": str(self.weights)}).encode()
        request = urllib.request.Request(
            f"{self.neuron_base(name)}/models/load", body, {"content-type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=30).close()
        return daemon

    def wait_for_failure(self, name: str) -> Any:
        """The host's own entry of the model once it has failed; the daemon answers meanwhile."""
        failed = self.wait_for_model(name, lambda models: models and models[0]["status"] == "failed")
        assert get_json(f"{self.neuron_base(name)}/health")["status"] == "ok"
        return failed[0]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[BadFleet]:
    weights = tmp_path / "starter.gguf"
    weights.write_bytes(b"GGUF")
    with BadFleet(tmp_path, weights, ("beast", "quadbrat")) as running:
        yield running


@pytest.fixture
def client(fleet: BadFleet) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{fleet.base}/v1", api_key="none", max_retries=0, timeout=60) as sdk:
        yield sdk


def sees_loaded(fleet: BadFleet, hosts: int) -> None:
    """Until the gateway knows so many hosts that have the model."""

    def known(value: Any) -> bool:
        entry = next((one for one in value["data"] if one["id"] == MODEL), {})
        return sum(where["status"] == "loaded" for where in entry.get("locations", ())) == hosts

    fleet.daemons["gateway"].wait_for(f"{fleet.base}/v1/models", known)


def broken_answer(client: openai.OpenAI) -> tuple[str, openai.APIError]:
    """The text of a stream up to its error."""
    text = ""
    try:
        for chunk in client.chat.completions.create(model=MODEL, messages=ASK, stream=True, max_tokens=64):
            text += chunk.choices[0].delta.content or ""
    except openai.APIError as error:
        return text, error
    raise AssertionError(f"the answer ended well: {text!r}")


@pytest.mark.parametrize(("way", "words"), [("stall", "no step for"), ("die", "panic: index out of bounds")])
def test_the_model_fails_the_daemon_lives_and_the_next_request_goes_elsewhere(
    fleet: BadFleet, client: openai.OpenAI, way: str, words: str
) -> None:
    fleet.start_bad("beast", way)
    fleet.start_bad("quadbrat", "work")
    fleet.start_gateway()
    sees_loaded(fleet, 2)
    text, error = broken_answer(client)
    assert text == PIECES[0]
    assert not isinstance(error, openai.APIConnectionError), "the stream was cut without an error event"
    entry = fleet.wait_for_failure("beast")
    assert entry["error_code"] == "engine_failed"
    assert words in entry["error"]
    sees_loaded(fleet, 1)
    for _ in range(3):
        answer = client.chat.completions.with_raw_response.create(model=MODEL, messages=ASK)
        assert answer.headers["x-cortex-neuron"] == "quadbrat"
        assert answer.parse().choices[0].message.content == "".join(PIECES)
    assert fleet.daemons["beast"].process.poll() is None


def test_where_a_stuck_engine_holds_the_memory_of_the_only_host_both_dialects_say_come_again(
    fleet: BadFleet, client: openai.OpenAI
) -> None:
    fleet.start_bad("beast", "stall")
    fleet.start_gateway()
    sees_loaded(fleet, 1)
    broken_answer(client)
    fleet.wait_for_failure("beast")
    sees_loaded(fleet, 0)
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(model=MODEL, messages=ASK)
    assert refused.value.status_code == 503
    assert int(refused.value.response.headers["retry-after"]) >= 1
    other = anthropic.Anthropic(base_url=fleet.base, api_key="none", max_retries=0, timeout=60)
    with other as sdk, pytest.raises(anthropic.APIStatusError) as overloaded:
        sdk.messages.create(model=MODEL, messages=ASK, max_tokens=4)
    assert overloaded.value.status_code == 529
    assert int(overloaded.value.response.headers["retry-after"]) >= 1
    assert fleet.daemons["beast"].process.poll() is None
