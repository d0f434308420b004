"""The unmodified OpenAI SDK gets embeddings of the tiny embedding model through gateway and neuron."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.conftest import ROOT
from tests.e2e.daemons import Daemon, free_port, get_json

MODEL = "tiny-embedder"
FOLDER = ROOT / "rust" / "engine" / "tests" / "data" / "models" / "bert"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The gateway of a `cortex up` with the model loaded."""
    gateway, metrics, neuron = free_port(), free_port(), free_port()
    command = ["cortex.cli.cortex", "up", str(FOLDER), "--name", MODEL, "--listen", f"127.0.0.1:{gateway}"]
    command += ["--metrics-listen", f"127.0.0.1:{metrics}", "--neuron-port", str(neuron)]
    with Daemon(command, tmp_path_factory.mktemp("up") / "log") as daemon:
        url = f"http://127.0.0.1:{gateway}"
        daemon.wait_for(f"{url}/v1/models", lambda value: any(entry["loaded"] for entry in value["data"]))
        yield url
        assert daemon.stop() == 0, daemon.output()


@pytest.fixture
def client(base: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def reference(folder: Path = FOLDER) -> list[dict[str, Any]]:
    inputs: list[dict[str, Any]] = json.loads((folder / "expected.json").read_text())["inputs"]
    return inputs


def test_vectors_are_the_references(client: openai.OpenAI) -> None:
    inputs = reference()
    answer = client.embeddings.create(model=MODEL, input=[one["input_ids"] for one in inputs])
    for item, expected in zip(answer.data, inputs, strict=True):
        assert item.embedding == pytest.approx(expected["embedding"], abs=1e-5)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(one["length"] for one in inputs)


def test_texts_are_counted_with_the_models_own_tokens_and_have_length_1(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model=MODEL, input=["a", "", "ä longer text"], encoding_format="float")
    assert [item.index for item in answer.data] == [0, 1, 2]
    for item in answer.data:
        assert sum(value * value for value in item.embedding) == pytest.approx(1.0, abs=1e-6)
    alone = client.embeddings.create(model=MODEL, input="")
    assert alone.usage.prompt_tokens == 2
    assert alone.data[0].embedding == answer.data[1].embedding


def test_both_formats_and_fewer_dimensions_agree(client: openai.OpenAI) -> None:
    whole = client.embeddings.create(model=MODEL, input="hello", encoding_format="float").data[0].embedding
    short = client.embeddings.create(model=MODEL, input="hello", dimensions=8).data[0].embedding
    length = sum(value * value for value in whole[:8]) ** 0.5
    assert short == pytest.approx([value / length for value in whole[:8]], abs=1e-6)
    assert client.embeddings.create(model=MODEL, input="hello").data[0].embedding == whole


def test_refusals_are_errors_that_the_sdk_knows(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"input 1 has 513 tokens; the model reads at most 512"):
        client.embeddings.create(model=MODEL, input=[[20], [20] * 513])
    with pytest.raises(openai.BadRequestError, match="between 1 and the model's 64"):
        client.embeddings.create(model=MODEL, input="x", dimensions=65)
    with pytest.raises(openai.BadRequestError, match="/v1/embeddings"):
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}])
    with pytest.raises(openai.NotFoundError, match=MODEL):
        client.embeddings.create(model="tiny-embeder", input="x")


def test_the_list_of_models_says_what_it_is_for(base: str) -> None:
    (entry,) = get_json(f"{base}/v1/models")["data"]
    assert (entry["id"], entry["capabilities"], entry["max_model_len"]) == (MODEL, ["embeddings"], 512)
