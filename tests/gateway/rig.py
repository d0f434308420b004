"""A gateway on free ports in front of scripted neurons, and short ways to ask it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from cortex.config import (
    AdmissionSection,
    AuthConfig,
    CorsConfig,
    EvictionConfig,
    GatewayConfig,
    GatewaySection,
    ModelProfile,
    ModelsConfig,
    ResponsesConfig,
    UsageSection,
)
from cortex.config.secrets import TOKEN_VARIABLE
from cortex.config.source import gateway_files
from cortex.fleet.state import Fleet, Reach
from cortex.gateway.app import Gateway
from cortex.http import UpstreamClient, UpstreamResponse
from cortex.types import ModelState
from tests.fakes.neuron import FakeNeuron

T = TypeVar("T")
LOOPBACK = "127.0.0.1:0"
SECONDS = 20.0
EMBEDDINGS = "/v1/embeddings"
CHAT, COMPLETIONS, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/messages"
RESPONSES = "/v1/responses"
TEXT = "The capital of France is Paris."
CATALOGUE = ModelsConfig(
    models=tuple(ModelProfile(id=name, vram_mb=40) for name in ("alpha", "beta", "gamma")),
    aliases={"small": "alpha", "claude-*haiku*": "alpha"},
)


class Answer(msgspec.Struct, frozen=True):
    """A whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]


class Rig:
    """A running gateway."""

    def __init__(self, gateway: Gateway, client: UpstreamClient) -> None:
        self.gateway = gateway
        self.client = client

    def open(
        self, path: str, body: Mapping[str, Any] | bytes, headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[UpstreamResponse]:
        """A POST whose answer is read as it comes; leaving the block early is a client that leaves."""
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return self.client.open("POST", self.gateway.url + path, headers=headers or {}, body=raw)

    async def post(
        self, path: str, body: Mapping[str, Any] | bytes, headers: Mapping[str, str] | None = None
    ) -> Answer:
        async with asyncio.timeout(SECONDS), self.open(path, body, headers) as response:
            return Answer(response.status, response.headers, await response.read(1 << 26))

    async def ask(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        url = self.gateway.url + path
        async with asyncio.timeout(SECONDS), self.client.open(method, url, headers=headers or {}) as response:
            return Answer(response.status, response.headers, await response.read(1 << 26))

    async def sees(self, condition: Callable[[Fleet], bool]) -> None:
        """Until the gateway's picture of the fleet is so."""
        async with asyncio.timeout(SECONDS):
            await self.gateway.board.until(condition)

    async def sees_loaded(self, neuron: str, model: str) -> None:
        await self.sees(lambda fleet: neuron in fleet.hosts and fleet.hosts[neuron].has(model, ModelState.LOADED))

    async def sees_busy(self, neuron: str, model: str) -> None:
        """Until a request of the model is there; leases wake nobody."""
        await self.until(lambda: self.gateway.board.fleet.hosts[neuron].busy(model) > 0)

    async def idle(self) -> None:
        """Until no request and no load is in flight, so that all is counted."""
        await self.sees(lambda fleet: not fleet.jobs and not any(host.leases for host in fleet.hosts.values()))
        await self.until(lambda: not self.gateway.server.in_flight)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Until something that wakes nobody is so."""
        async with asyncio.timeout(SECONDS):
            while not condition():  # noqa: ASYNC110 - what is looked at has no event
                await asyncio.sleep(0.001)

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a sample over all series with these labels, as Prometheus reads it."""
        url = self.gateway.metrics_server.url + "/metrics"
        async with self.client.open("GET", url) as response:
            text = (await response.read(1 << 24)).decode()
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())


@asynccontextmanager
async def running(
    *neurons: FakeNeuron,
    models: ModelsConfig = CATALOGUE,
    eviction: EvictionConfig | None = None,
    responses: ResponsesConfig | None = None,
    auth: AuthConfig | None = None,
    token: str | None = None,
    admission: AdmissionSection | None = None,
    ledger: str | None = None,
    cors: CorsConfig | None = None,
    **settings: Any,
) -> AsyncIterator[Rig]:
    """A gateway that has met its hosts. A neuron that was started and died before stays dead."""
    for neuron in neurons:
        if not neuron.port:
            await neuron.start()
    fast: dict[str, Any] = {"poll_secs": 0.1, "drain_secs": 0.1, "load_wait_secs": 10.0, **settings}
    config = GatewayConfig(
        gateway=GatewaySection(listen=LOOPBACK, metrics_listen=LOOPBACK, **fast),
        eviction=eviction or EvictionConfig(),
        responses=responses or ResponsesConfig(),
        neurons=tuple(neuron.peer() for neuron in neurons),
        auth=auth,
        admission=admission or AdmissionSection(),
        usage=UsageSection(ledger=ledger),
        cors=cors or CorsConfig(),
    )
    gateway = Gateway(gateway_files(config, models, {} if token is None else {TOKEN_VARIABLE: token}))
    await gateway.start()
    try:
        async with UpstreamClient() as client:
            rig = Rig(gateway, client)
            await rig.sees(lambda fleet: all(host.reach is not Reach.UNKNOWN for host in fleet.hosts.values()))
            yield rig
    finally:
        await gateway.stop()
        for neuron in neurons:
            await neuron.die()
        await asyncio.sleep(0.01)  # the server hands requests over from a thread of its own: one may be under way


async def soon(waited: Awaitable[T]) -> T:
    """With a deadline, so that a hang is a failure that says where."""
    async with asyncio.timeout(SECONDS):
        return await waited


def chat(model: str = "alpha", **more: Any) -> dict[str, Any]:
    """A body for `/v1/chat/completions`."""
    return {"model": model, "messages": [{"role": "user", "content": "Capital of France?"}], **more}


def message(model: str = "alpha", **more: Any) -> dict[str, Any]:
    """A body for `/v1/messages`."""
    return {**chat(model), "max_tokens": 64, **more}


def body_for(path: str, model: str = "alpha", **more: Any) -> dict[str, Any]:
    """A body for any of the generating paths, and for counting."""
    if path == COMPLETIONS:
        return {"model": model, "prompt": "The", **more}
    if path == EMBEDDINGS:
        return {"model": model, "input": "The", **more}
    if path == RESPONSES:
        return {"model": model, "input": "Capital of France?", **more}
    return message(model, **more) if path.startswith(MESSAGES) else chat(model, **more)
