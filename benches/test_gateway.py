"""What the gateway adds: to the first token of a real model, and to each chunk of a stream.

Run: make bench, or: pytest benches/test_gateway.py --benchmark-enable
Aims: first token within 60 ms of the neuron's own; under 0.3 ms a streamed chunk. Compare the rows of a pair.
"""

import asyncio
import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from cortex.ops.starter import cached_starter
from tests.e2e.fleet import MODEL, Fleet
from tests.fakes.neuron import FakeNeuron, Script
from tests.gateway.rig import CHAT, Rig, chat, running

CHUNKS = 2000
QUESTION = [{"role": "user", "content": "What is the capital of France? Answer with the name of the city."}]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A gateway and a neuron as processes of their own, the starter model loaded by a first request."""
    weights = cached_starter()
    if not weights.is_file():
        pytest.skip("the starter model is not in the cache: run make model")
    folder: Path = tmp_path_factory.mktemp("fleet")
    with Fleet(folder, weights, ("beast",)) as running_fleet:
        running_fleet.start_neuron("beast")
        running_fleet.start_gateway()
        first_chunk(running_fleet.api)
        yield running_fleet


def first_chunk(port: int) -> None:
    """Ask for one token as a stream and wait for the first piece of text."""
    body = {"model": MODEL, "messages": QUESTION, "max_tokens": 1, "temperature": 0, "stream": True}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("POST", CHAT, json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        assert response.status == 200
        assert any(b'"content":"' in line and b'"content":""' not in line for line in response)


@pytest.mark.parametrize("by", ["gateway", "neuron"])
def test_first_token(benchmark: BenchmarkFixture, fleet: Fleet, by: str) -> None:
    """From connecting to the first text: the same request to the neuron itself and through the gateway."""
    port = fleet.api if by == "gateway" else fleet.ports["beast"]
    benchmark.pedantic(first_chunk, args=(port,), rounds=40, warmup_rounds=3)


@pytest.mark.parametrize("path", ["chat", "messages"])
@pytest.mark.parametrize("by", ["gateway", "neuron"])
def test_stream_of_2000_chunks(benchmark: BenchmarkFixture, by: str, path: str) -> None:
    """A scripted neuron gives its chunks as fast as they are taken: per chunk, the difference of a pair by 2000.

    `messages` asks the gateway in Anthropic's dialect, which it translates; its neuron row is the OpenAI stream.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        beast = FakeNeuron("beast")
        beast.scripts["alpha"] = Script(pieces=(" word",) * CHUNKS)
        beast.put("alpha")
        context = running(beast)
        rig = runner.run(context.__aenter__())
        try:
            runner.run(rig.sees_loaded("beast", "alpha"))
            base = rig.gateway.url if by == "gateway" else beast.endpoint
            route = "/v1/messages" if path == "messages" and by == "gateway" else CHAT
            benchmark.pedantic(lambda: runner.run(drain(rig, base + route)), rounds=10, warmup_rounds=1)
        finally:
            runner.run(context.__aexit__(None, None, None))


async def drain(rig: Rig, url: str) -> None:
    """Read one stream to its end."""
    body = json.dumps(chat("alpha", stream=True, max_tokens=CHUNKS)).encode()
    async with rig.client.open("POST", url, headers={}, body=body) as response:
        assert response.status == 200
        answer = await response.read(1 << 26)
    assert answer.count(b" word") == CHUNKS
