"""The ASGI application that serves an App: Robyn's routes and hooks on Granian, with the promises Robyn lacks.

Reads only the surface Robyn's own TestClient reads. One request:
1. match the route; without one the hooks still run (deny by default), then 404 or 405 in the app's error style;
2. read the body, capped (413), cut or badly framed (400), too slow (408);
3. from here the watcher cancels the task when the client leaves, before and after the first byte;
4. hooks, handler;
5. send the answer, or the stream with backpressure and a stall limit.
Whatever Robyn offers and this does not do is refused when the adapter is built.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from cortex.errors import CortexError, MethodNotAllowed, RouteNotFound, ShuttingDown
from cortex.http.app import App, styled
from cortex.http.connection import ClientGone, ClientStalled, Connection, Receive, Scope, Send
from cortex.http.convert import REQUEST_ID, StreamCarrier, from_robyn, header_pairs, request_id
from cortex.http.message import Request
from cortex.http.refusals import refuse_unsupported
from cortex.http.shim import Headers, QueryParams, RobynRequest, RobynResponse, Url
from cortex.http.table import RouteTable

__all__ = ["Adapter"]

Endpoint = Callable[[RobynRequest], Coroutine[Any, Any, RobynResponse | StreamCarrier]]
Answer = RobynResponse | StreamCarrier
_log = logging.getLogger("cortex.http")


class _Match(NamedTuple):
    endpoint: Endpoint | None
    params: dict[str, str]
    error: CortexError | None


class Adapter:
    """Serves one App; built after its last route. `in_flight` counts requests, `cancel_all` ends them."""

    def __init__(self, app: App) -> None:
        refuse_unsupported(app.robyn)
        self._app = app
        self._tables: dict[str, RouteTable[Endpoint]] = {}
        for route in app.robyn.router.get_routes():
            method = str(route.route_type).rpartition(".")[2]
            self._tables.setdefault(method, RouteTable()).add(route.route, route.function.handler)
        self._hooks = [hook.function.handler for hook in app.robyn.middleware_router.get_global_middlewares()]
        self._common = [(name.lower(), value) for name, value in app.robyn.response_headers.multi_items()]
        self._cors = app.cors
        self._tasks: set[asyncio.Task[Any]] = set()
        self._refusing = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_flight(self) -> int:
        """Requests whose answer is not sent in full."""
        return len(self._tasks)

    async def wait_idle(self) -> None:
        """Until no request is in flight."""
        await self._idle.wait()

    def refuse(self) -> None:
        """Answer what still comes over open connections with ShuttingDown; what is in flight goes on."""
        self._refusing = True

    def cancel_all(self) -> None:
        """Cancel every request in flight, as if its client had left."""
        for task in self._tasks:
            task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None, "the server runs each request as a task"
        self._tasks.add(task)
        self._idle.clear()
        connection = Connection(receive, send)
        try:
            await self._serve(scope, connection, task)
        except asyncio.CancelledError:
            if not connection.gone:
                raise
            task.uncancel()
            _log.debug("client left", extra={"fields": {"path": scope["path"]}})
        except ClientGone:
            _log.debug("client left", extra={"fields": {"path": scope["path"]}})
        except ClientStalled:
            _log.warning("client took no data, cut off", extra={"fields": {"path": scope["path"]}})
            raise  # the answer is not complete: the server must break the connection, not end it
        finally:
            await connection.unwatch()
            self._tasks.discard(task)
            if not self._tasks:
                self._idle.set()

    async def _serve(self, scope: Scope, connection: Connection, task: asyncio.Task[Any]) -> None:
        headers = _headers(scope)
        id_ = headers[REQUEST_ID] = request_id(headers.get(REQUEST_ID))
        match = self._match(scope["method"], _raw_path(scope))
        if self._refusing:
            match = _Match(None, {}, ShuttingDown("The daemon is shutting down.", retry_after=1.0))
        body, error = b"", match.error
        if error is None:
            try:
                body = await connection.read_body(headers.get("content-length"), self._app.max_body_bytes)
            except CortexError as raised:
                error = raised
        request = _robyn_request(scope, headers, match.params, body)
        if error is None or match.error is not None:
            connection.watch(task)
            answer = await self._dispatch(request, match.endpoint, error)
        else:
            answer = self._error_answer(request, error)
        more = [*self._common, *([] if self._cors is None else self._cors.headers(scope["path"], headers))]
        await self._reply(connection, answer, id_, more, head=scope["method"] == "HEAD")

    async def _dispatch(self, request: RobynRequest, endpoint: Endpoint | None, error: CortexError | None) -> Answer:
        for hook in self._hooks:
            result = await hook(request)
            if isinstance(result, RobynRequest):
                request = result
            elif result is not None:
                short: Answer = result
                return short
        if endpoint is None:
            assert error is not None, "no route and no reason"
            return self._error_answer(request, error)
        return await endpoint(request)

    def _error_answer(self, request: RobynRequest, error: CortexError) -> RobynResponse:
        ours: Request = from_robyn(request)
        answer = styled(error, ours, self._app.on_error)
        pairs = dict(header_pairs(answer.headers, answer.media_type, ours.id))
        if isinstance(error, MethodNotAllowed):
            pairs["allow"] = ", ".join(error.extras["allow"])
        return RobynResponse(answer.status, Headers(pairs), answer.body)

    async def _reply(
        self, connection: Connection, answer: Answer, id_: str, more: list[tuple[str, str]], *, head: bool
    ) -> None:
        if isinstance(answer, StreamCarrier):
            await connection.send_stream(answer.stream, [*more, *answer.pairs], head=head)
            return
        pairs = [(name.lower(), value) for name, value in answer.headers.multi_items()]
        if not any(name == REQUEST_ID for name, _ in pairs):
            pairs.append((REQUEST_ID, id_))
        body = answer.description
        raw = body.encode() if isinstance(body, str) else bytes(body)
        await connection.send_whole(answer.status_code, [*more, *pairs], raw, head=head)

    def _match(self, method: str, raw_path: str) -> _Match:
        names = (method, "GET") if method == "HEAD" else (method,)
        for name in names:
            table = self._tables.get(name)
            hit = table.match(raw_path) if table is not None else None
            if hit is not None:
                return _Match(hit[0], hit[1], None)
        allow = sorted(name for name, table in self._tables.items() if table.match(raw_path) is not None)
        if not allow:
            return _Match(None, {}, RouteNotFound(f"No such path: {raw_path[:200]}"))
        if "GET" in allow and "HEAD" not in allow:
            allow.append("HEAD")
        message = f"{method} is not allowed here; use {' or '.join(allow)}."
        return _Match(None, {}, MethodNotAllowed(message, extras={"allow": allow}))


def _headers(scope: Scope) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _raw_path(scope: Scope) -> str:
    raw: bytes | None = scope.get("raw_path")
    return (raw.split(b"?", 1)[0].decode("latin-1") if raw else scope["path"]) or "/"


def _robyn_request(scope: Scope, headers: dict[str, str], params: dict[str, str], body: bytes) -> RobynRequest:
    query = QueryParams()
    for name, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
        query.set(name, value)
    client = scope.get("client")
    url = Url(scope["scheme"], headers.get("host", ""), scope["path"])
    address: str | None = client[0] if client else None
    make: Callable[..., RobynRequest] = RobynRequest  # Robyn's stub asks for an argument its class does not take
    return make(query, Headers(headers), params, body, scope["method"], url, {}, {}, None, address)
