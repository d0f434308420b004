"""The door: applications, server, metrics port and upstream client; the only package with web libraries in it."""

from cortex.http.app import App, Router
from cortex.http.client import UpstreamClient, UpstreamResponse
from cortex.http.message import Request, Response, Stream, json_response
from cortex.http.metrics import MetricsServer
from cortex.http.near import is_near
from cortex.http.server import Server
from cortex.http.service import Service, run

__all__ = [
    "App",
    "MetricsServer",
    "Request",
    "Response",
    "Router",
    "Server",
    "Service",
    "Stream",
    "UpstreamClient",
    "UpstreamResponse",
    "is_near",
    "json_response",
    "run",
]
