"""App and Router: routes, one global hook, error style; a Robyn application inside.

A handler is `async def handler(request: Request) -> Response | Stream`; it raises CortexError for every failure that
is not a bug. A hook is `async def hook(request: Request) -> Response | None`: None lets the request through.
"""

import logging
from collections.abc import Awaitable, Callable

from cortex.errors import CortexError
from cortex.http.convert import StreamCarrier, from_robyn, to_robyn
from cortex.http.cors import Cors
from cortex.http.message import Request, Response, Stream
from cortex.http.shim import Robyn, RobynRequest, RobynResponse, SubRouter, make_robyn, make_subrouter

__all__ = ["App", "ErrorStyle", "Handler", "Hook", "LifeHook", "Router", "styled"]

Handler = Callable[[Request], Awaitable[Response | Stream]]
Hook = Callable[[Request], Awaitable[Response | None]]
ErrorStyle = Callable[[Request, CortexError], Response]
LifeHook = Callable[[], Awaitable[None]]

_log = logging.getLogger("cortex.http")
MAX_BODY = 64 * 1024 * 1024


def styled(error: Exception, request: Request, style: ErrorStyle) -> Response:
    """The answer for an error that a handler raised; one that is not ours is logged and shown as internal."""
    if not isinstance(error, CortexError):
        _log.exception("handler failed", exc_info=error, extra={"fields": {"path": request.path, "id": request.id}})
        error = CortexError("Internal error; the daemon's log has the details under this request id.")
    answer = style(request, error)
    if error.retry_after is not None and "retry-after" not in answer.headers:
        answer.headers = {**answer.headers, "retry-after": str(max(1, round(error.retry_after)))}
    return answer


class _Routes:
    """The decorators, for an application and for a group of routes under a prefix."""

    def __init__(self, inner: Robyn | SubRouter) -> None:
        self._inner = inner
        self._app: App | None = None

    def get(self, path: str) -> Callable[[Handler], Handler]:
        return self._register("GET", path)

    def post(self, path: str) -> Callable[[Handler], Handler]:
        return self._register("POST", path)

    def put(self, path: str) -> Callable[[Handler], Handler]:
        return self._register("PUT", path)

    def delete(self, path: str) -> Callable[[Handler], Handler]:
        return self._register("DELETE", path)

    def head(self, path: str) -> Callable[[Handler], Handler]:
        return self._register("HEAD", path)

    def options(self, path: str) -> Callable[[Handler], Handler]:
        return self._register("OPTIONS", path)

    def _register(self, method: str, path: str) -> Callable[[Handler], Handler]:
        def decorate(handler: Handler) -> Handler:
            async def endpoint(request: RobynRequest) -> RobynResponse | StreamCarrier:
                return await self._answer(handler, from_robyn(request))

            endpoint.__name__ = getattr(handler, "__name__", "endpoint")
            self._inner.add_route(method, path, endpoint)
            return handler

        return decorate

    async def _answer(self, handler: Handler, request: Request) -> RobynResponse | StreamCarrier:
        assert self._app is not None, "a router answers only after App.include"
        answer: Response | Stream
        try:
            answer = await handler(request)
        except Exception as error:
            answer = styled(error, request, self._app.on_error)
        return to_robyn(answer, request.id)


class Router(_Routes):
    """Routes under a prefix, mounted with `App.include`."""

    def __init__(self, prefix: str = "") -> None:
        self._subrouter = make_subrouter(prefix)
        super().__init__(self._subrouter)

    def mount(self, app: "App") -> SubRouter:
        """The Robyn SubRouter inside, now answering in `app`'s error style; called by `App.include`."""
        self._app = app
        return self._subrouter


class App(_Routes):
    """One HTTP application. `on_error` turns an error into the answer that fits the path's dialect, `cors` says which
    pages may read answers."""

    def __init__(self, name: str, *, on_error: ErrorStyle, max_body_bytes: int = MAX_BODY) -> None:
        self.robyn = make_robyn()
        super().__init__(self.robyn)
        self._app = self
        self.name = name
        self.on_error = on_error
        self.max_body_bytes = max_body_bytes
        self.cors: Cors | None = None
        self._startup: list[LifeHook] = []
        self._shutdown: list[LifeHook] = []

    def let_pages_read(self, cors: Cors) -> None:
        """Answer browsers by these rules; before the hooks that look at who asks."""
        self.before(cors.preflight)
        self.cors = cors

    def include(self, router: Router) -> None:
        """Mount the routes that `router` has by now."""
        self.robyn.include_router(router.mount(self))

    def before(self, hook: Hook) -> Hook:
        """Run `hook` before every request, unknown paths included; hooks run in the order they are given."""

        async def robyn_hook(request: RobynRequest) -> RobynResponse | StreamCarrier | None:
            ours = from_robyn(request)
            try:
                answer = await hook(ours)
            except Exception as error:
                answer = styled(error, ours, self.on_error)
            return None if answer is None else to_robyn(answer, ours.id)

        self.robyn.before_request()(robyn_hook)
        return hook

    def on_startup(self, hook: LifeHook) -> LifeHook:
        """Run `hook` before the server takes requests; an exception stops the start."""
        if not self._startup:
            self.robyn.startup_handler(self._run_startup)
        self._startup.append(hook)
        return hook

    def on_shutdown(self, hook: LifeHook) -> LifeHook:
        """Run `hook` after the last request ended, last registered first."""
        if not self._shutdown:
            self.robyn.shutdown_handler(self._run_shutdown)
        self._shutdown.append(hook)
        return hook

    def routes(self) -> list[tuple[str, str]]:
        """All (method, path pattern) pairs, for tests that walk them."""
        return [(str(route.route_type).rpartition(".")[2], route.route) for route in self.robyn.router.get_routes()]

    async def _run_startup(self) -> None:
        for hook in self._startup:
            await hook()

    async def _run_shutdown(self) -> None:
        for hook in reversed(self._shutdown):
            await hook()
