"""Neuron: the service behind `neuron serve`: listens at once, loads in the background, drains at its end."""

import asyncio
import logging
import signal
from collections.abc import Mapping

from cortex.config import NeuronConfig
from cortex.http import CUT_SECONDS, App, Drain, Request, Response, Server, json_response, listener_tls
from cortex.neuron.access import Access
from cortex.neuron.devices import Devices
from cortex.neuron.engines import Engines
from cortex.neuron.host import Host
from cortex.neuron.routes import error_style, register

__all__ = ["Neuron"]

_log = logging.getLogger("cortex.neuron")
_ANSWER_SECONDS = 0.1


class Neuron:
    """Made inside the event loop that runs it. `engines` and `devices` are the real ones unless given. With `restarts`
    it can be told to end in order to begin anew (`POST /restart`): then `restart_asked` says so to whoever runs it."""

    def __init__(
        self,
        config: NeuronConfig,
        environ: Mapping[str, str],
        *,
        engines: Engines | None = None,
        devices: Devices | None = None,
        restarts: bool = False,
    ) -> None:
        if engines is None:
            from cortex.neuron.native import NativeEngines

            engines = NativeEngines()
        tls = None if config.tls is None else listener_tls(config.tls.cert, config.tls.key, config.tls.client_ca)
        access = Access(config.auth, environ)
        self.host = Host(config, environ, engines=engines, devices=devices, url=lambda: self.url)
        app = App("neuron", on_error=error_style, max_body_bytes=config.max_body_bytes)
        register(app, self.host, access)
        self.restart_asked = False
        if restarts:
            app.post("/restart")(self._restart)
        self.app = app
        drain_seconds = config.drain_secs + CUT_SECONDS
        self.server = Server(app, config.host, config.port, drain_seconds=drain_seconds, setting="port", tls=tls)
        self._drain = Drain(self.server, config.drain_secs, self.host.interrupt)

    async def _restart(self, _request: Request) -> Response:
        """End as on SIGTERM, once this answer is out."""
        self.restart_asked = True
        asyncio.get_running_loop().call_later(_ANSWER_SECONDS, signal.raise_signal, signal.SIGTERM)
        return json_response({"status": "restarting"}, status=202)

    @property
    def url(self) -> str:
        """Where the API is, from this machine; known once started."""
        return self.server.url

    def status_line(self) -> str:
        """Loads in progress, models and requests in a few words."""
        return self.host.status.line()

    def alive(self) -> bool:
        """False once an engine with work to do has made no step for so long that only a new process helps."""
        return self.host.status.alive()

    async def start(self) -> None:
        """Listen, then load the default models in the background. Raises ConfigError for an address that cannot be
        had; then nothing is left running."""
        try:
            await self.server.start()
        except BaseException:
            self.host.status.close()
            raise
        self.host.watch.start()
        self.host.preload.start()
        fields = {"url": self.url, "devices": ", ".join(device.name for device in self.host.discovery.devices)}
        _log.info("listening", extra={"fields": fields})

    def hurry(self) -> None:
        """Let nothing finish that still runs: each answer ends with an error that says why."""
        self._drain.hurry()

    async def stop(self) -> None:
        """Refuse new requests, stop loads, let requests end for the drain time, interrupt the rest, free the models."""
        host = self.host
        host.begin_drain()
        try:
            await host.preload.close()
            await host.loads.close()
            await self._drain.run()
        finally:
            await host.watch.close()
            await host.unloads.close()
            host.status.close()
