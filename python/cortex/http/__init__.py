"""The door: applications, server, metrics port and upstream client; the only package with web libraries in it."""

from cortex.http.app import App, Router
from cortex.http.body_stream import BodyStream
from cortex.http.client import UpstreamClient, UpstreamResponse
from cortex.http.cors import Cors
from cortex.http.draining import CUT_SECONDS, Drain
from cortex.http.inherited import inherited_listener
from cortex.http.message import Request, Response, Stream, json_response
from cortex.http.metrics import MetricsServer
from cortex.http.model_labels import MODELS_LIMIT, UNKNOWN_MODEL, ModelLabels
from cortex.http.near import is_near
from cortex.http.server import Server
from cortex.http.service import Service, run
from cortex.http.tls import ListenerTls, client_context, listener_tls

__all__ = [
    "CUT_SECONDS",
    "MODELS_LIMIT",
    "UNKNOWN_MODEL",
    "App",
    "BodyStream",
    "Cors",
    "Drain",
    "ListenerTls",
    "MetricsServer",
    "ModelLabels",
    "Request",
    "Response",
    "Router",
    "Server",
    "Service",
    "Stream",
    "UpstreamClient",
    "UpstreamResponse",
    "client_context",
    "inherited_listener",
    "is_near",
    "json_response",
    "listener_tls",
    "run",
]
