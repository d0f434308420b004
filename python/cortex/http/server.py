"""Server: one App on Granian's embedded ASGI server, on a socket of our own.

The socket is ours so that a taken port is a clear error, port 0 is known before the first request, and `stop` closes
the door at once. Granian's hook for a given socket is private API: pinned, and covered by tests.
"""

import asyncio
import contextlib
import errno
import logging
import os
import socket
from typing import Any

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server as GranianServer

from cortex.errors import ConfigError
from cortex.http.adapter import Adapter
from cortex.http.app import App
from cortex.http.probes import Probes, probe
from cortex.http.tls import ListenerTls

__all__ = ["MAX_CONNECTIONS", "Server"]

_log = logging.getLogger("cortex.http")
MAX_CONNECTIONS = 4096
_CLOSE_SECONDS = 5.0
# A client that vanished without a word (power, cable, a closed lid) is noticed after 30 s, also where we owe it nothing
# yet: what it asked for is given up. Its sends that nobody acknowledges are cut off by the stall limit.
_PROBES = Probes(idle_seconds=10, every_seconds=5, count=4)


class _Embedded(GranianServer):
    """Granian's embedded server on a listening socket that it is given (it owns the duplicate)."""

    def __init__(self, target: Any, fd: int, backlog: int, tls: ListenerTls | None) -> None:
        super().__init__(
            target,
            interface=Interfaces.ASGINL,
            websockets=False,
            backlog=backlog,
            backpressure=MAX_CONNECTIONS,
            http1_settings=HTTP1Settings(header_read_timeout=30_000),
            log_enabled=False,
            http=HTTPModes.auto if tls is None else HTTPModes.http1,  # a client that leaves is known by its connection
            ssl_cert=None if tls is None else tls.cert,
            ssl_key=None if tls is None else tls.key,
            ssl_ca=None if tls is None else tls.client_ca,
            ssl_client_verify=tls is not None and tls.client_ca is not None,
        )
        self._given_fd = fd

    def end(self) -> None:
        """Stop taking connections and leave `serve` once the open ones are done."""
        self.interrupt_signal = True
        self.main_loop_interrupt.set()

    def _init_shared_socket(self) -> None:
        holder: Any = SocketHolder  # its stub has no constructor
        self.__dict__.update(_ssp=None, _shd=holder(self._given_fd, False, self.backlog), _sfd=self._given_fd)


class Server:
    """Listens for one App. `port` is the real one after `start`; `ready` is false before and while it drains.

    `inherited` is a listening socket to serve on instead of an own one. Its owner keeps it open for our successor, so
    `stop` leaves new connections to wait in its queue, and answers the last requests of open ones.
    """

    def __init__(
        self,
        app: App,
        host: str,
        port: int,
        *,
        drain_seconds: float = 30.0,
        backlog: int = 1024,
        setting: str = "port",
        inherited: socket.socket | None = None,
        tls: ListenerTls | None = None,
    ) -> None:
        self.app = app
        self.host = host
        self.port = port
        self.ready = False
        self._drain_seconds = drain_seconds
        self._backlog = backlog
        self._setting = setting
        self._inherited = inherited
        self._tls = tls
        self._adapter: Adapter | None = None
        self._granian: _Embedded | None = None
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def in_flight(self) -> int:
        """Requests whose answer is not sent in full."""
        return self._adapter.in_flight if self._adapter else 0

    @property
    def url(self) -> str:
        """Where to reach the server from this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://[{host}]:{self.port}" if ":" in host else f"{scheme}://{host}:{self.port}"

    async def start(self) -> None:
        """Bind, run the start-up hooks, serve. Bound when it returns; raises ConfigError where that is impossible."""
        self._adapter = Adapter(self.app)
        self._socket = self._listener()
        self.host, self.port = self._socket.getsockname()[:2]
        try:
            await self._run_hook("startup")
        except BaseException:
            self._socket.close()
            raise
        self._granian = _Embedded(self._adapter, os.dup(self._socket.fileno()), self._backlog, self._tls)
        self._task = asyncio.get_running_loop().create_task(self._granian.serve(), name=f"server {self.app.name}")
        self._task.add_done_callback(self._ended)
        self.ready = True

    async def stop(self, drain_seconds: float | None = None) -> None:
        """Refuse new connections, let requests end for the drain time, cancel the rest, run the shut-down hooks.

        Cancelled meanwhile, it cuts the drain short and does the rest all the same: Granian left half closed would
        write a traceback when the loop ends.
        """
        if self._adapter is None or self._granian is None or self._task is None or self._socket is None:
            return
        self.ready = False
        limit = self._drain_seconds if drain_seconds is None else drain_seconds
        if self._inherited is None:
            self._adapter.refuse()
        self._granian.end()
        self._socket.close()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    await self._adapter.wait_idle()
        finally:
            closing = asyncio.get_running_loop().create_task(self._close(self._adapter), name=f"close {self.app.name}")
            try:
                await asyncio.shield(closing)
            finally:
                await asyncio.wait([closing])

    def _listener(self) -> socket.socket:
        if self._inherited is None:
            return _bind(self.host, self.port, self._backlog, self._setting)
        address, port = self._inherited.getsockname()[:2]
        if (address, port) != (self.host, self.port):
            fields = {"socket": f"{address}:{port}", self._setting: f"{self.host}:{self.port}"}
            _log.warning("listening on the socket handed over, not as configured", extra={"fields": fields})
        self._inherited.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        probe(self._inherited, _PROBES)
        self._inherited.setblocking(False)
        return self._inherited

    async def _close(self, adapter: Adapter) -> None:
        if self.in_flight:
            _log.warning("drain time is over, cutting requests", extra={"fields": {"requests": self.in_flight}})
            adapter.cancel_all()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await adapter.wait_idle()
        await self._close_granian()
        await self._run_hook("shutdown")
        self._granian = None

    async def _close_granian(self) -> None:
        assert self._task is not None, "closed once, after start"
        done, _ = await asyncio.wait([self._task], timeout=_CLOSE_SECONDS)
        if not done:  # idle keep-alive connections hold it
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_CLOSE_SECONDS)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            _log.error("server ended", exc_info=task.exception(), extra={"fields": {"app": self.app.name}})
        self.ready = False

    async def _run_hook(self, name: str) -> None:
        for event, function in self.app.robyn.event_handlers.items():
            if event.value.lower() == name:
                await function.handler()


def _bind(host: str, port: int, backlog: int, setting: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it; without it a small chunk waits up to 40 ms for the client to acknowledge the last one.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        probe(listener, _PROBES)  # inherited too
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((host, port))
        listener.listen(backlog)
    except OSError as exc:
        listener.close()
        raise ConfigError(_bind_message(exc, host, port, setting)) from exc
    listener.setblocking(False)
    return listener


def _bind_message(exc: OSError, host: str, port: int, setting: str) -> str:
    if exc.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {host} is taken by another program; stop it (`ss -ltnp 'sport = :{port}'` names it) "
            f"or choose another {setting}."
        )
    if exc.errno == errno.EACCES:
        return f"Port {port} needs more rights than this user has; choose a {setting} above 1023."
    if exc.errno == errno.EADDRNOTAVAIL:
        return f"This machine has no address {host}; use one of its own, 127.0.0.1 or 0.0.0.0."
    return f"Cannot listen on {host}:{port}: {exc.strerror or exc}."
