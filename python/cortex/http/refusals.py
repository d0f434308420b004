"""What Robyn offers and our adapter does not do: refused when the application is built, never ignored."""

from collections.abc import Sequence
from typing import Any

from cortex.http.shim import MiddlewareType, Robyn

__all__ = ["refuse_unsupported"]


def refuse_unsupported(app: Robyn) -> None:
    """Raise ValueError naming every feature of `app` that the adapter would not honour."""
    routes: Sequence[Any] = app.router.get_routes()
    hooks: Sequence[Any] = app.middleware_router.get_global_middlewares()
    found = {
        "WebSocket routes": bool(app.web_socket_router.get_routes()),
        "served directories": bool(app.directories),
        "const routes": any(route.is_const for route in routes),
        "auth_required routes (use a global before-hook)": any(route.auth_required for route in routes),
        "path-scoped hooks (Robyn runs them for GET only)": bool(app.middleware_router.get_route_middlewares()),
        "after-hooks (Robyn skips them for streams)": any(
            hook.middleware_type != MiddlewareType.BEFORE_REQUEST for hook in hooks
        ),
        "sync hooks or handlers": not all(item.function.is_async for item in (*routes, *hooks)),
        "sessions": app.session_manager is not None,
        "request headers for all": not app.request_headers.is_empty(),
        "excluded response header paths": bool(app.excluded_response_headers_paths),
        "MCP": app._mcp_app is not None,
    }
    refused = [name for name, present in found.items() if present]
    if refused:
        raise ValueError(f"the server does not support: {'; '.join(refused)}")
