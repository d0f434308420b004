"""One neuron on a free port with a scripted engine, and a client for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from blockbuster import blockbuster_ctx

from cortex.config import AdmissionConfig, CandleConfig, NeuronConfig
from cortex.config.neuron import HarnessConfig
from cortex.dialects.sse import SseParser
from cortex.http import UpstreamClient
from cortex.neuron.app import Neuron
from cortex.protocol import NeuronEvent
from tests.fakes.engine import FakeDevices, FakeEngine, FakeEngines

HOST = "127.0.0.1"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def error(self) -> dict[str, Any]:
        return self.json["error"]  # type: ignore[no-any-return]

    @property
    def chunks(self) -> list[Any]:
        """The events of a stream, decoded, without the end mark."""
        return [msgspec.json.decode(event.data) for event in SseParser().feed(self.body) if event.data != b"[DONE]"]


class Rig:
    """The neuron under test. `engines` and `devices` are its seams."""

    def __init__(
        self, neuron: Neuron, engines: FakeEngines, devices: FakeDevices, client: UpstreamClient, folder: Path
    ) -> None:
        self.neuron = neuron
        self.engines = engines
        self.devices = devices
        self.client = client
        self.folder = folder

    def engine(self, model: str = "alpha") -> FakeEngine:
        return self.engines.loaded[model]

    def source(self, model: str) -> str:
        path = self.folder / f"{model}.gguf"
        path.write_bytes(b"weights")
        return str(path)

    async def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        raw = body if isinstance(body, bytes) or body is None else msgspec.json.encode(body)
        async with self.client.open(method, self.neuron.url + path, headers=headers or {}, body=raw) as response:
            return Answer(response.status, response.headers, await response.read(8 * 1024 * 1024))

    async def get(self, path: str) -> Any:
        answer = await self.ask("GET", path)
        assert answer.status == 200, answer.body
        return answer.json

    async def load(self, model: str = "alpha", **fields: Any) -> Answer:
        if "source" not in fields:
            fields["source"] = self.source(model)
        return await self.ask("POST", "/models/load", {"model_id": model, **fields})

    async def unload(self, model: str = "alpha", **fields: Any) -> Answer:
        return await self.ask("POST", "/models/unload", {"model_id": model, **fields})

    async def chat(self, model: str = "alpha", **fields: Any) -> Answer:
        fields.setdefault("messages", [{"role": "user", "content": "capital of France?"}])
        return await self.ask("POST", "/v1/chat/completions", {"model": model, **fields})

    async def complete(self, model: str = "alpha", **fields: Any) -> Answer:
        fields.setdefault("prompt", "The capital of France is")
        return await self.ask("POST", "/v1/completions", {"model": model, **fields})

    async def metric(self, name: str, **labels: str) -> float:
        registry = self.neuron.host.metrics.registry
        return registry.get_sample_value(name, labels) or 0.0

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[NeuronEvent]]:
        """The host's events as they come."""
        async with self.client.open("GET", self.neuron.url + "/events") as response:
            assert response.status == 200

            async def decoded() -> AsyncIterator[NeuronEvent]:
                parser = SseParser()
                async for chunk in response.chunks():
                    for event in parser.feed(chunk):
                        yield msgspec.json.decode(event.data, type=NeuronEvent)

            yield decoded()


@asynccontextmanager
async def running(
    folder: Path,
    *,
    memory_mb: int = 1000,
    engines: FakeEngines | None = None,
    admission: AdmissionConfig | None = None,
    **settings: Any,
) -> AsyncIterator[Rig]:
    """A neuron until the block ends; then it drains. What blocks its event loop meanwhile is an error."""
    engines = engines or FakeEngines()
    devices = FakeDevices(memory_mb)
    candle = CandleConfig(admission=admission or AdmissionConfig(max_in_flight=4, max_queue_depth=2, max_wait_secs=5))
    fields: dict[str, Any] = {"drain_secs": 0.2, "keep_alive_secs": 0.05, **settings}
    config = NeuronConfig(host=HOST, port=0, harness=HarnessConfig(candle=candle), **fields)
    neuron = Neuron(config, {"HOME": str(folder), "HF_HUB_OFFLINE": "1"}, engines=engines, devices=devices)
    await neuron.start()
    try:
        with blockbuster_ctx(["cortex.neuron", "cortex.engine"], excluded_modules=["cortex.neuron.app"]):
            async with UpstreamClient() as client:
                yield Rig(neuron, engines, devices, client, folder)
    finally:
        await neuron.stop()
