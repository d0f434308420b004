"""Gateway: puts the parts together and runs them: metrics port, hosts' watchers, API; stops them in reverse."""

import socket
import time
from pathlib import Path

from cortex.config import GatewayConfig, ModelsConfig, ResponsesConfig, split_address
from cortex.fleet.catalogue import catalogue_of
from cortex.fleet.eviction import policy_of
from cortex.fleet.state import Fleet, Host
from cortex.gateway.board import Board
from cortex.gateway.counting import Counting
from cortex.gateway.dispatch import Dispatcher
from cortex.gateway.inference import Inference
from cortex.gateway.lifecycle import Lifecycle
from cortex.gateway.metrics import Metrics
from cortex.gateway.neurons import NeuronClient
from cortex.gateway.poller import Poller
from cortex.gateway.response_store import ResponseStore
from cortex.gateway.responses import Responses
from cortex.gateway.routes import error_style, register
from cortex.gateway.upstream import Upstream
from cortex.gateway.views import fleet_line
from cortex.http import App, MetricsServer, Server, UpstreamClient

__all__ = ["Gateway"]


class Gateway:
    """The service behind `cortex serve`; made inside the event loop that runs it. `listener` is a listening socket to
    serve the API on instead of binding `gateway.listen`."""

    def __init__(self, config: GatewayConfig, models: ModelsConfig, *, listener: socket.socket | None = None) -> None:
        settings = config.gateway
        catalogue = catalogue_of(models)
        hosts = [Host(name=peer.name, endpoint=peer.endpoint.rstrip("/")) for peer in config.neurons]
        self.board = Board(Fleet(hosts={host.name: host for host in hosts}))
        self.metrics = Metrics(lambda: self.board.fleet)
        self._client = UpstreamClient()
        neurons = NeuronClient(self._client)
        self._poller = Poller(self.board, neurons, poll_seconds=settings.poll_secs)
        self._lifecycle = Lifecycle(
            self.board,
            neurons,
            self.metrics,
            refresh=self._poller.refresh,
            defrag_after_cycles=config.eviction.defrag_after_cycles,
        )
        policy = policy_of(catalogue, config.eviction)
        dispatcher = Dispatcher(self.board, policy, self._lifecycle, self.metrics, wait_seconds=settings.load_wait_secs)
        upstream = Upstream(self._client, dispatcher, self._poller, idle_seconds=settings.idle_timeout_secs)
        app = App("gateway", on_error=error_style, max_body_bytes=settings.max_body_bytes)
        inference = Inference(dispatcher, upstream, self.metrics, settings)
        register(
            app,
            board=self.board,
            catalogue=catalogue,
            inference=inference,
            responses=Responses(inference, self.metrics, _store_of(config.responses, app)),
            counting=Counting(self.board, dispatcher, neurons, self.metrics),
            created=int(time.time()),
        )
        self.app = app
        host, port = split_address(settings.listen)
        self.server = Server(
            app, host, port, drain_seconds=settings.drain_secs, setting="gateway.listen", inherited=listener
        )
        host, port = split_address(settings.metrics_listen)
        self.metrics_server = MetricsServer(self.metrics.registry, host, port)

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
