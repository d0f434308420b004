"""`cortex up`: a gateway and a neuron in one process and one event loop, with one model and no configuration file."""

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cortex.cli.output import human_bytes, say
from cortex.cli.services import start_logging, with_addresses
from cortex.config import (
    CandleConfig,
    DefaultModel,
    GatewayConfig,
    ModelProfile,
    ModelsConfig,
    NeuronConfig,
    NeuronPeer,
)
from cortex.config.neuron import HarnessConfig
from cortex.config.source import gateway_files
from cortex.errors import LoadError, SourceNotFound
from cortex.fleet.state import Fleet
from cortex.gateway.app import Gateway
from cortex.http import run
from cortex.neuron.app import Neuron
from cortex.ops.starter import STARTER_ID, ensure_starter
from cortex.protocol import ModelEntry
from cortex.types import ModelState

__all__ = ["Chosen", "UpOptions", "choose_model", "run_up"]

HOST = "127.0.0.1"
NEURON = "local"
PACKAGE = "package:"
_ENDED = frozenset({ModelState.LOADED, ModelState.FAILED})


@dataclass(frozen=True)
class UpOptions:
    """What `cortex up` was asked for."""

    model: str | None
    name: str | None
    quant: str | None
    listen: str
    metrics_listen: str
    neuron_port: int
    threads: int | None
    log_level: str
    log_format: str


@dataclass(frozen=True)
class Chosen:
    """The one model: the id that the host knows, where it comes from (None = the id says it), another name."""

    id: str
    source: str | None
    alias: str | None = None

    @property
    def name(self) -> str:
        """What clients write."""
        return self.alias or self.id


def choose_model(model: str, name: str | None) -> Chosen:
    """1. A package's file or 2. a path is called as asked or like the file; 3. anything else is a repository, and a
    name for it an alias, since its id says where it comes from. Raises SourceNotFound for a path without a file."""
    if model.startswith(PACKAGE):  # 1
        return Chosen(id=name or Path(model).stem, source=model)
    path = Path(model).expanduser()
    if path.exists():  # 2
        return Chosen(
            id=name or (path.resolve().stem if path.is_file() else path.resolve().name), source=str(path.resolve())
        )
    if model.startswith(("/", "./", "../", "~")) or model.endswith((".gguf", ".safetensors")):
        raise SourceNotFound(f"{model} does not exist; name a .gguf file, a folder of safetensors or a repository")
    return Chosen(id=model, source=None, alias=None if name == model else name)  # 3


def run_up(options: UpOptions) -> None:
    """Run until a signal. Raises ConfigError for a port or option, LoadError when the model cannot be had."""
    start_logging(options.log_level, options.log_format)
    if options.model is None:
        chosen = Chosen(id=options.name or STARTER_ID, source=str(ensure_starter(say)))
    else:
        chosen = choose_model(options.model, options.name)
    services: list[_Up] = []

    def make() -> _Up:
        services.append(_Up(options, chosen))
        return services[0]

    run(make)
    for service in services:
        if service.failure is not None:
            raise service.failure


class _Up:
    """Both daemons as one service. `failure` is why it ended by itself."""

    def __init__(self, options: UpOptions, chosen: Chosen) -> None:
        self.failure: LoadError | None = None
        self._chosen = chosen
        self._quant = options.quant
        self._config = with_addresses(GatewayConfig(), listen=options.listen, metrics_listen=options.metrics_listen)
        self._neuron = Neuron(_neuron_config(options, chosen), os.environ)
        self._gateway: Gateway | None = None
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """The neuron first: its port may have been left to the system."""
        await self._neuron.start()
        try:
            peer = NeuronPeer(name=NEURON, endpoint=self._neuron.url)
            profile = ModelProfile(id=self._chosen.id, source=self._chosen.source, quant=self._quant)
            aliases = {self._chosen.alias: self._chosen.id} if self._chosen.alias else {}
            models = ModelsConfig(models=(profile,), aliases=aliases)
            config = msgspec.structs.replace(self._config, neurons=(peer,))
            self._gateway = Gateway(gateway_files(config, models, os.environ))
            await self._gateway.start()
        except BaseException:
            await self._neuron.stop()
            raise
        _introduce(self._gateway.url, self._chosen.name)
        self._watch = asyncio.get_running_loop().create_task(self._watch_load(self._gateway), name="watch the load")

    def status_line(self) -> str:
        """What the embedded neuron does."""
        return self._neuron.status_line()

    def alive(self) -> bool:
        """Whether the embedded neuron's engines make steps."""
        return self._neuron.alive()

    def hurry(self) -> None:
        """Both end what still runs."""
        if self._gateway is not None:
            self._gateway.hurry()
        self._neuron.hurry()

    async def stop(self) -> None:
        """The gateway drains before its only host goes."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        try:
            if self._gateway is not None:
                await self._gateway.stop()
        finally:
            await self._neuron.stop()

    async def _watch_load(self, gateway: Gateway) -> None:
        await gateway.board.until(lambda fleet: _ended(fleet, self._chosen.id) is not None)
        entry = _ended(gateway.board.fleet, self._chosen.id)
        if entry is None or entry.status is ModelState.LOADED:
            size = f" ({human_bytes(entry.bytes)})" if entry is not None and entry.bytes else ""
            say(f"{self._chosen.name} is loaded{size}; Ctrl-C ends it.")
            return
        self.failure = LoadError(f"{self._chosen.name} cannot be loaded: {entry.error or 'the log above says why'}")
        signal.raise_signal(signal.SIGTERM)  # the way out that drains


def _ended(fleet: Fleet, model: str) -> ModelEntry | None:
    host = fleet.hosts.get(NEURON)
    entry = host.models.get(model) if host is not None else None
    return entry if entry is not None and entry.status in _ENDED else None


def _neuron_config(options: UpOptions, chosen: Chosen) -> NeuronConfig:
    model = DefaultModel(model_id=chosen.id, source=chosen.source, quant=options.quant)
    candle = CandleConfig(threads=options.threads)
    return NeuronConfig(
        host=HOST, port=options.neuron_port, harness=HarnessConfig(candle=candle), default_models=(model,)
    )


def _introduce(url: str, model: str) -> None:
    say(f"cortex is up, loading {model}")
    say(f"  OpenAI       base URL {url}/v1, any key")
    say(f"  Anthropic    base URL {url}, any key")
    say(f"  Claude Code  ANTHROPIC_BASE_URL={url} ANTHROPIC_AUTH_TOKEN=none ANTHROPIC_MODEL={model} claude")
    say(f"  status       cortex status -e {url}")
