"""The one place where Robyn is imported and its applications are made, kept from touching our process.

Robyn parses `sys.argv` while it is imported (and may exit), calls `logging.basicConfig` in its constructor, obeys
ROBYN_* variables, and reads `robyn.env` and `openapi.json` beside the file it is given: none of that may happen here.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "Headers",
    "MiddlewareType",
    "QueryParams",
    "Robyn",
    "RobynRequest",
    "RobynResponse",
    "StreamingResponse",
    "SubRouter",
    "Url",
    "make_robyn",
    "make_subrouter",
]


@contextmanager
def _apart() -> Iterator[None]:
    """Hide arguments, ROBYN_* variables and the root logger from Robyn, and give them back unchanged."""
    argv = sys.argv
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("ROBYN_")}
    sys.argv = argv[:1]
    try:
        yield
    finally:
        sys.argv = argv
        os.environ.update(hidden)
        root.handlers[:] = handlers
        root.setLevel(level)


with _apart():
    from robyn import Robyn, SubRouter
    from robyn.argument_parser import Config
    from robyn.responses import StreamingResponse
    from robyn.robyn import Headers, MiddlewareType, QueryParams, Url
    from robyn.robyn import Request as RobynRequest
    from robyn.robyn import Response as RobynResponse

    _CONFIG = Config()
    _CONFIG.disable_openapi = True
    _CONFIG.log_level = "WARN"

logging.getLogger("robyn").setLevel(logging.WARNING)
_FOLDER_FILE = str(Path(__file__).resolve())  # a folder of ours: no robyn.env, no openapi.json


def make_robyn() -> Robyn:
    """A Robyn application without its OpenAPI routes."""
    with _apart():
        return Robyn(_FOLDER_FILE, config=_CONFIG)


def make_subrouter(prefix: str) -> SubRouter:
    """A Robyn SubRouter that mounts its routes under `prefix`."""
    with _apart():
        return SubRouter(prefix=prefix, config=_CONFIG)
