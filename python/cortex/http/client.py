"""UpstreamClient: streams requests to other hosts over aiohttp; the one place where aiohttp's errors become ours."""

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import partial
from types import TracebackType
from typing import Any

import aiohttp
import uvloop
from aiohttp.client_proto import ResponseHandler

from cortex.errors import CortexError, UpstreamLost, UpstreamMalformed, UpstreamUnreachable
from cortex.http.message import NO_HEADERS
from cortex.http.probes import Probes, probe

__all__ = ["HOP_BY_HOP", "UpstreamClient", "UpstreamResponse", "map_client_error"]

# Headers that belong to one connection, and those the sender computes itself: never forwarded.
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding"}
    | {"upgrade", "content-length", "host", "server", "date"}
)
_KEEPALIVE_SECONDS = 20.0  # below the 30 s after which our servers close an idle connection, else both race
_READ_BUFFER = 256 * 1024
_SOCKETS: ContextVar[list[socket.socket]] = ContextVar("sockets of one connect")
# A host that is gone without a word (power, cable) is noticed after about 10 s of silence while we wait for it, and
# after 20 s when it does not even acknowledge what was sent.
_PROBES = Probes(idle_seconds=5, every_seconds=2, count=3, sent_seconds=20)


def map_client_error(error: Exception, where: str) -> CortexError:
    """Our error for one of aiohttp's. 1. no connection: unreachable; 2. the answer is not HTTP as it should be:
    malformed; 3. everything else, time-outs of a silent host included: lost."""
    unreachable = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientSSLError)
    if isinstance(error, unreachable):  # 1.
        return UpstreamUnreachable(f"{where} cannot be reached.")
    malformed = (aiohttp.ClientResponseError, aiohttp.InvalidURL, ValueError, aiohttp.http.HttpProcessingError)
    if isinstance(error, malformed):  # 2.
        return UpstreamMalformed(f"{where} did not answer as it should.")
    if isinstance(error, TimeoutError):  # 3.
        return UpstreamLost(f"{where} fell silent.")
    return UpstreamLost(f"{where} dropped the connection.")


@contextmanager
def _mapped(where: str) -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError, TimeoutError, ValueError) as exc:
        raise map_client_error(exc, where) from exc


class UpstreamResponse:
    """A host's answer. `headers` has lower-case names, without those of the connection."""

    def __init__(self, response: aiohttp.ClientResponse, where: str) -> None:
        self._response = response
        self._where = where
        self.status = response.status
        pairs = ((name.lower(), value) for name, value in response.headers.items())
        self.headers = {name: value for name, value in pairs if name not in HOP_BY_HOP}

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes. Raises UpstreamLost when it is cut or silent beyond the idle time."""
        with _mapped(self._where):
            async for chunk in self._response.content.iter_any():
                yield chunk

    async def read(self, limit: int) -> bytes:
        """The whole body; raises UpstreamMalformed beyond `limit` bytes."""
        parts: list[bytes] = []
        size = 0
        with _mapped(self._where):
            async for chunk in self._response.content.iter_any():
                size += len(chunk)
                if size > limit:
                    raise UpstreamMalformed(f"{self._where} sent more than {limit} bytes.")
                parts.append(chunk)
        return b"".join(parts)


class UpstreamClient:
    """One connection pool for the process; follows no redirects, trusts no proxy variables, unpacks nothing.

    `credentials` are headers by origin (`http://host:port`), sent there and nowhere else; `tls` is for https, but for
    `strangers` (origins), whose certificates are the system's to judge.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._tls = tls
        self.credentials: Mapping[str, Mapping[str, str]] = {}
        self.strangers: frozenset[str] = frozenset()

    async def __aenter__(self) -> "UpstreamClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
            await asyncio.sleep(0)  # the transports close on the loop's next turn

    @asynccontextmanager
    async def open(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = NO_HEADERS,
        body: bytes | None = None,
        idle_seconds: float = 600.0,
        connect_seconds: float = 2.0,
    ) -> AsyncIterator[UpstreamResponse]:
        """Send a request; yields when the answer's headers are here. There is no limit on the whole time, only on the
        connect and on each silence. Leaving the block early closes the connection, so the host sees it at once.
        Raises UpstreamUnreachable (nothing was sent), UpstreamLost, UpstreamMalformed."""
        where = _where(url)
        origin = _origin(url)
        own = self.credentials.get(origin, NO_HEADERS)
        trust = True if self._tls is None or origin in self.strangers else self._tls
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds, sock_read=idle_seconds)
        with _mapped(where):
            response = await self._open_session().request(
                method, url, headers={**headers, **own}, data=body, timeout=timeout, allow_redirects=False, ssl=trust
            )
        try:
            yield UpstreamResponse(response, where)
        finally:
            response.close()  # after a body read to its end the connection is back in the pool already

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = _Connector(
                limit=0,
                keepalive_timeout=_KEEPALIVE_SECONDS,
                socket_factory=_probed_socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                auto_decompress=False,
                trust_env=False,
                skip_auto_headers=("Accept-Encoding", "User-Agent", "Content-Type"),
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=_READ_BUFFER,
            )
        return self._session


class _Handler(ResponseHandler):
    """Tells whoever reads a body of every error. aiohttp 3.14 does not of bytes that are no chunk: it closes the
    connection, drops the time limit too, and its reader would wait for ever."""

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        if self._payload is not None and not self._payload.is_eof() and self._payload.exception() is None:
            self._payload.set_exception(exc, *cause)
        super().set_exception(exc, *cause)


class _Connector(aiohttp.TCPConnector):
    """Makes our handlers, and lets go of sockets that uvloop has closed. Private API of aiohttp: tests hold both."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        made: Any = partial(_Handler, loop=self._loop)
        self._factory = made

    async def _wrap_create_connection(self, *args: Any, **kwargs: Any) -> Any:
        """A request that is given up between connect and first use: uvloop 0.22 closes the descriptor, and leaves its
        number in the socket object, which would close it once more when it is collected. By then the number may belong
        to a connection of another client, which the server would go on to use."""
        sockets: list[socket.socket] = []
        token = _SOCKETS.set(sockets)
        try:
            return await super()._wrap_create_connection(*args, **kwargs)
        except BaseException:
            if isinstance(self._loop, uvloop.Loop):
                for one in sockets:  # those that were not handed to the loop are closed by now
                    one.detach()
            raise
        finally:
            _SOCKETS.reset(token)


def _probed_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """A socket that asks a silent host whether it is still there, where the system can."""
    family, kind, proto, *_ = address
    made = socket.socket(family, kind, proto)
    _SOCKETS.get().append(made)
    try:
        probe(made, _PROBES)
    except OSError:
        made.close()
        raise
    return made


def _where(url: str) -> str:
    found = re.match(r"https?://(?:[^@/]*@)?([^/?#]+)", url)
    return found[1] if found else "the host"


def _origin(url: str) -> str:
    """Scheme, host and port as they stand in the URL; everything up to the path."""
    end = url.find("/", url.find("://") + 3)
    return url if end < 0 else url[:end]
