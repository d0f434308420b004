"""Gateway: puts the parts together and runs them: metrics port, hosts' watchers, API; stops them in reverse."""

import asyncio
import socket
import ssl
import time
from pathlib import Path

from cortex.config import (
    GatewayConfig,
    GatewaySection,
    NeuronTlsConfig,
    ResponsesConfig,
    TlsConfig,
    split_address,
)
from cortex.config.keys import Keyring
from cortex.config.source import GatewayFiles, GatewaySource
from cortex.fleet.catalogue import catalogue_of
from cortex.fleet.eviction import Policy, policy_of
from cortex.fleet.membership import hosts_listed
from cortex.fleet.state import Fleet
from cortex.gateway.access import ADMIN_PATHS, Access
from cortex.gateway.admin import Admin
from cortex.gateway.board import Board
from cortex.gateway.counting import Counting
from cortex.gateway.defrag import Defrag
from cortex.gateway.dispatch import Dispatcher
from cortex.gateway.handwork import HandworkKeeper
from cortex.gateway.idle import IdleUnloader
from cortex.gateway.inference import Inference
from cortex.gateway.interruptions import Interruptions, Silences
from cortex.gateway.ledger import Ledger
from cortex.gateway.lifecycle import Lifecycle
from cortex.gateway.listing import Listing
from cortex.gateway.metrics import Metrics
from cortex.gateway.native import NativeResponses
from cortex.gateway.neurons import NeuronClient
from cortex.gateway.peers import credentials, hosts, strangers
from cortex.gateway.poller import Poller
from cortex.gateway.reload import Reloader
from cortex.gateway.response_store import ResponseStore
from cortex.gateway.responses import Responses
from cortex.gateway.routes import error_style, register
from cortex.gateway.upstream import Upstream
from cortex.gateway.views import fleet_line
from cortex.http import (
    CUT_SECONDS,
    App,
    Cors,
    Drain,
    ListenerTls,
    MetricsServer,
    Server,
    UpstreamClient,
    client_context,
    listener_tls,
)

__all__ = ["Gateway"]


class Gateway:
    """The service behind `cortex serve`; made inside the event loop that runs it. With a `source` its files are read
    anew when they change. `listener` is a listening socket to serve the API on instead of binding `gateway.listen`.
    Raises ConfigError for certificates that cannot be used."""

    def __init__(
        self, files: GatewayFiles, *, source: GatewaySource | None = None, listener: socket.socket | None = None
    ) -> None:
        config, settings = files.config, files.config.gateway
        self._files = files
        self.board = Board(hosts_listed(Fleet(), hosts(config)))
        self._handwork = HandworkKeeper(_path(settings.state_file), self.board)
        self.metrics = Metrics(lambda: self.board.fleet)
        self._reloader = None if source is None else Reloader(source, files, self._apply, self.metrics)
        self._client = UpstreamClient(tls=_host_tls(config.neuron_tls))
        self._introduce(files)
        self._neurons = NeuronClient(self._client)
        self._silences = Silences()
        self._poller = Poller(self.board, self._neurons, settings.poll_secs, on_silent=self._silences.fell_silent)
        self._defrag = Defrag(self.board, self._neurons, after=config.eviction.defrag_after_cycles)
        self._lifecycle = Lifecycle(
            self.board,
            self._neurons,
            self.metrics,
            refresh=self._poller.refresh,
            on_loaded=self._defrag.count,
        )
        self._idle = IdleUnloader(
            self.board, lambda: self._dispatcher.policy, self._neurons, self.metrics, self._poller.refresh
        )
        self._access = Access(config.auth, Keyring(files.keys), self._look)
        self._cors = Cors(_reading_origins(config), max_age_seconds=config.cors.max_age_secs, private=ADMIN_PATHS)
        self._dispatcher = Dispatcher(
            self.board,
            _policy(files),
            self._lifecycle,
            self.metrics,
            wait_seconds=settings.load_wait_secs,
            limits=config.admission,
        )
        self._interruptions = Interruptions()
        self.app = self._make_app()
        self.server = _api_server(self.app, settings, listener)
        self._drain = Drain(self.server, settings.drain_secs, self._interruptions.interrupt)
        self.metrics_server = _metrics_server(self.metrics, settings)

    def _introduce(self, files: GatewayFiles) -> None:
        """Tell the client what each host is sent to be let in."""
        self._client.credentials = credentials(files)
        self._client.strangers = strangers(files.config)

    def _make_app(self) -> App:
        config, dispatcher = self._files.config, self._dispatcher
        settings = config.gateway
        upstream = Upstream(
            self._client, dispatcher, self._poller, self._silences, idle_seconds=settings.idle_timeout_secs
        )
        if config.usage.ledger is not None:
            self.metrics.ledger = Ledger(Path(config.usage.ledger), self.metrics.ledger_errors.inc)
        app = App("gateway", on_error=error_style, max_body_bytes=settings.max_body_bytes)
        app.let_pages_read(self._cors)
        inference = Inference(dispatcher, upstream, self.metrics, settings, self._interruptions)
        counting = Counting(self.board, dispatcher, self._neurons, self.metrics)
        register(
            app,
            access=self._access,
            inference=inference,
            responses=Responses(
                inference,
                counting,
                self.metrics,
                _store_of(config.responses, app),
                NativeResponses(inference, lambda: self.board.fleet, keeps=config.responses.store),
            ),
            counting=counting,
            admin=Admin(
                self.board, dispatcher, self._lifecycle, self._neurons, self._poller.refresh, self._handwork.keep
            ),
            listing=Listing(
                self.board,
                lambda: dispatcher.policy.catalogue,
                created=int(time.time()),
                warnings=lambda: self.warnings,
            ),
        )
        return app

    @property
    def warnings(self) -> list[str]:
        """What an operator should know."""
        reloading = () if self._reloader is None else self._reloader.warnings
        return [*self._files.warnings, *reloading, *self._handwork.warnings]

    def reload(self) -> None:
        """Read the files anew, soon, and go on in a new ledger (SIGHUP)."""
        if self.metrics.ledger is not None:
            self.metrics.ledger.reopen()
        if self._reloader is not None:
            self._reloader.ask()

    async def _look(self) -> None:
        if self._reloader is not None:
            await self._reloader.look()

    def _apply(self, files: GatewayFiles) -> None:
        """Put files into force: from one request to the next, between two awaits."""
        config = files.config
        self._access.configure(config.auth, Keyring(files.keys))
        self._cors.configure(_reading_origins(config), config.cors.max_age_secs)
        self._files = files
        self._introduce(files)
        self._dispatcher.policy = _policy(files)
        self._dispatcher.wait_seconds = config.gateway.load_wait_secs
        self._dispatcher.lines.limits = config.admission
        self._defrag.after = config.eviction.defrag_after_cycles
        self._poller.pause_seconds = config.gateway.poll_secs
        self.board.apply(hosts_listed, hosts(config))
        self._poller.follow_hosts()
        self._handwork.keep_soon()

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
        loop = asyncio.get_running_loop()
        self.metrics.tasks.set_function(lambda: len(asyncio.all_tasks(loop)))
        if self.metrics.ledger is not None:
            self.metrics.ledger.open()
        await self.metrics_server.start()
        try:
            await self.server.start()
        except BaseException:
            await self.metrics_server.stop()
            raise
        self._poller.start()
        if self._reloader is not None:
            self._reloader.start()
        self._idle.start()

    def hurry(self) -> None:
        """Let nothing finish that still runs: each request ends with an error that says why."""
        self._drain.hurry()

    async def stop(self) -> None:
        """Refuse new requests, drain, stop the loads' watching, the hosts' watchers, and the metrics port last."""
        if self._reloader is not None:
            await self._reloader.close()
        await self._handwork.close()
        await self._idle.close()
        await self._defrag.close()
        try:
            await self._drain.run()
        finally:
            await self._lifecycle.close()
            await self._poller.close()
            await self._client.close()
            await self.metrics_server.stop()
            if self.metrics.ledger is not None:
                self.metrics.ledger.close()


def _reading_origins(config: GatewayConfig) -> tuple[str, ...]:
    """Pages that may ask without a key may read the answers too."""
    asking = () if config.auth is None else config.auth.allowed_origins
    return (*config.cors.allowed_origins, *asking)


def _store_of(config: ResponsesConfig, app: App) -> ResponseStore | None:
    """The store, opened before the first request and closed after the last."""
    if not config.store:
        return None
    store = ResponseStore(
        _path(config.path), max_entries=config.max_entries, max_bytes=config.max_bytes, ttl_seconds=config.ttl_secs
    )
    app.on_startup(store.open)
    app.on_shutdown(store.close)
    return store


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)


def _api_server(app: App, settings: GatewaySection, listener: socket.socket | None) -> Server:
    host, port = split_address(settings.listen)
    return Server(
        app,
        host,
        port,
        drain_seconds=settings.drain_secs + CUT_SECONDS,
        setting="gateway.listen",
        inherited=listener,
        tls=_listener_tls(settings.tls),
    )


def _metrics_server(metrics: Metrics, settings: GatewaySection) -> MetricsServer:
    host, port = split_address(settings.metrics_listen)
    return MetricsServer(metrics.registry, host, port, tls=_listener_tls(settings.metrics_tls))


def _listener_tls(section: TlsConfig | None) -> ListenerTls | None:
    return None if section is None else listener_tls(section.cert, section.key, section.client_ca)


def _host_tls(section: NeuronTlsConfig | None) -> ssl.SSLContext | None:
    return None if section is None else client_context(ca=section.ca, cert=section.cert, key=section.key)


def _policy(files: GatewayFiles) -> Policy:
    config = files.config
    return policy_of(catalogue_of(files.models), config.eviction, replicate_after=config.admission.replicate_after)
