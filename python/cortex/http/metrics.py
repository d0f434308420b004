"""MetricsServer: a Prometheus registry on a port of its own; the text is made in a thread, off the loop."""

import asyncio

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from cortex.errors import CortexError
from cortex.http.app import App
from cortex.http.message import Request, Response
from cortex.http.server import Server
from cortex.http.tls import ListenerTls

__all__ = ["MetricsServer", "exposition"]


async def exposition(registry: CollectorRegistry) -> Response:
    """The registry in Prometheus' text format."""
    text = await asyncio.to_thread(generate_latest, registry)
    return Response(body=text, media_type=CONTENT_TYPE_LATEST)


def _plain_error(_request: Request, error: CortexError) -> Response:
    return Response(status=error.status, body=f"{error.message}\n".encode(), media_type="text/plain; charset=utf-8")


class MetricsServer(Server):
    """Serves `GET /metrics` of `registry`; started first and stopped last, so that a drain can be watched."""

    def __init__(self, registry: CollectorRegistry, host: str, port: int, *, tls: ListenerTls | None = None) -> None:
        app = App("metrics", on_error=_plain_error, max_body_bytes=64 * 1024)

        @app.get("/metrics")
        async def metrics(_request: Request) -> Response:
            return await exposition(registry)

        super().__init__(app, host, port, drain_seconds=2.0, setting="metrics port", tls=tls)
