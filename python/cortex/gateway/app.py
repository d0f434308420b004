"""Gateway: puts the parts together and runs them: metrics port, hosts' watchers, API; stops them in reverse."""

import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from cortex.config import GatewayConfig, GatewaySection, ModelsConfig, NeuronTlsConfig, ResponsesConfig, split_address
from cortex.config.keys import Keyring, read_keys
from cortex.config.secrets import read_tokens
from cortex.config.warnings import gateway_warnings
from cortex.fleet.catalogue import Catalogue, catalogue_of
from cortex.fleet.eviction import policy_of
from cortex.fleet.state import Fleet, Host
from cortex.gateway.access import Access
from cortex.gateway.board import Board
from cortex.gateway.counting import Counting
from cortex.gateway.dispatch import Dispatcher
from cortex.gateway.inference import Inference
from cortex.gateway.lifecycle import Lifecycle
from cortex.gateway.listing import Listing
from cortex.gateway.metrics import Metrics
from cortex.gateway.neurons import NeuronClient
from cortex.gateway.poller import Poller
from cortex.gateway.response_store import ResponseStore
from cortex.gateway.responses import Responses
from cortex.gateway.routes import error_style, register
from cortex.gateway.upstream import Upstream
from cortex.gateway.views import fleet_line
from cortex.http import App, MetricsServer, Server, UpstreamClient, client_context, listener_tls

__all__ = ["Gateway"]

NO_VARIABLES: Mapping[str, str] = {}


class Gateway:
    """The service behind `cortex serve`; made inside the event loop that runs it. `environ` may hold the hosts' token,
    `listener` is a listening socket to serve the API on instead of binding `gateway.listen`. Raises ConfigError for
    keys, tokens or certificates that cannot be used."""

    def __init__(
        self,
        config: GatewayConfig,
        models: ModelsConfig,
        *,
        environ: Mapping[str, str] = NO_VARIABLES,
        listener: socket.socket | None = None,
    ) -> None:
        settings = config.gateway
        keys = Keyring(() if config.auth is None else read_keys(Path(config.auth.keys_file)))
        tokens = read_tokens(None if config.auth is None else config.auth.token_file, environ)
        self.warnings = gateway_warnings(config, keys=len(keys), tokens=tokens)
        catalogue = catalogue_of(models)
        hosts = [Host(name=peer.name, endpoint=peer.endpoint.rstrip("/")) for peer in config.neurons]
        self.board = Board(Fleet(hosts={host.name: host for host in hosts}))
        self.metrics = Metrics(lambda: self.board.fleet)
        self._client = UpstreamClient(tls=_host_tls(config.neuron_tls))
        self._client.credentials = _credentials(config, tokens)
        self._neurons = NeuronClient(self._client)
        self._poller = Poller(self.board, self._neurons, poll_seconds=settings.poll_secs)
        self._lifecycle = Lifecycle(
            self.board,
            self._neurons,
            self.metrics,
            refresh=self._poller.refresh,
            defrag_after_cycles=config.eviction.defrag_after_cycles,
        )
        self.app = self._make_app(config, catalogue, Access(config.auth, keys))
        self.server = _api_server(self.app, settings, listener)
        host, port = split_address(settings.metrics_listen)
        self.metrics_server = MetricsServer(self.metrics.registry, host, port)

    def _make_app(self, config: GatewayConfig, catalogue: Catalogue, access: Access) -> App:
        settings = config.gateway
        policy = policy_of(catalogue, config.eviction)
        dispatcher = Dispatcher(self.board, policy, self._lifecycle, self.metrics, wait_seconds=settings.load_wait_secs)
        upstream = Upstream(self._client, dispatcher, self._poller, idle_seconds=settings.idle_timeout_secs)
        app = App("gateway", on_error=error_style, max_body_bytes=settings.max_body_bytes)
        inference = Inference(dispatcher, upstream, self.metrics, settings)
        register(
            app,
            access=access,
            inference=inference,
            responses=Responses(inference, self.metrics, _store_of(config.responses, app)),
            counting=Counting(self.board, dispatcher, self._neurons, self.metrics),
            listing=Listing(self.board, lambda: catalogue, created=int(time.time()), warnings=lambda: self.warnings),
        )
        return app

    @property
    def url(self) -> str:
        """Where the API is, from this machine; known once started."""
        return self.server.url

    def status_line(self) -> str:
        """Hosts, models and requests in a few words."""
        words = fleet_line(self.board.fleet, in_flight=self.server.in_flight)
        return words if self.server.ready else f"draining; {words}"

    def alive(self) -> bool:
        """True: what can be stuck here is the event loop, and then nobody asks."""
        return True

    async def start(self) -> None:
        """Listen. Raises ConfigError for an address that cannot be had; then nothing is left running."""
        await self.metrics_server.start()
        try:
            await self.server.start()
        except BaseException:
            await self.metrics_server.stop()
            raise
        self._poller.start()

    async def stop(self) -> None:
        """Refuse new requests, drain, stop the loads' watching, the hosts' watchers, and the metrics port last."""
        try:
            await self.server.stop()
        finally:
            await self._lifecycle.close()
            await self._poller.close()
            await self._client.close()
            await self.metrics_server.stop()


def _store_of(config: ResponsesConfig, app: App) -> ResponseStore | None:
    """The store, opened before the first request and closed after the last."""
    if not config.store:
        return None
    path = None if config.path is None else Path(config.path)
    store = ResponseStore(path, max_entries=config.max_entries, max_bytes=config.max_bytes, ttl_seconds=config.ttl_secs)
    app.on_startup(store.open)
    app.on_shutdown(store.close)
    return store


def _api_server(app: App, settings: GatewaySection, listener: socket.socket | None) -> Server:
    host, port = split_address(settings.listen)
    section = settings.tls
    return Server(
        app,
        host,
        port,
        drain_seconds=settings.drain_secs,
        setting="gateway.listen",
        inherited=listener,
        tls=None if section is None else listener_tls(section.cert, section.key, section.client_ca),
    )


def _host_tls(section: NeuronTlsConfig | None) -> ssl.SSLContext | None:
    return None if section is None else client_context(ca=section.ca, cert=section.cert, key=section.key)


def _credentials(config: GatewayConfig, tokens: Sequence[str]) -> dict[str, dict[str, str]]:
    """The token for each host, by origin: it goes nowhere else."""
    if not tokens:
        return {}
    return {peer.endpoint.rstrip("/"): {"authorization": f"Bearer {tokens[0]}"} for peer in config.neurons}
