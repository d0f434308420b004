"""What handlers take and give: Request, Response, Stream; plain values without a framework in them."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import msgspec

__all__ = ["NO_HEADERS", "Request", "Response", "Stream", "json_response"]

NO_HEADERS: Mapping[str, str] = {}


class Request(msgspec.Struct, kw_only=True):
    """One request, its body read in full. `headers` has lower-case names (repeated ones joined with a comma), `query`
    the last value of each name, decoded; `path_params` are decoded too. `client` is the peer's address."""

    method: str
    path: str
    id: str
    path_params: dict[str, str] = {}
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    body: bytes = b""
    client: str | None = None


class Response(msgspec.Struct, kw_only=True):
    """A whole answer. `media_type` becomes the content-type unless `headers` has one."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = NO_HEADERS
    media_type: str = "application/json"


class Stream:
    """An answer sent piece by piece.

    Each chunk is handed to the client before the next is asked for. `content.aclose()` always runs: at the end, when
    the client left, and when it took no chunk for `stall_seconds`. A client that leaves cancels the content where it
    waits.
    """

    def __init__(
        self,
        content: AsyncGenerator[bytes, None],
        *,
        status: int = 200,
        headers: Mapping[str, str] = NO_HEADERS,
        media_type: str = "text/event-stream",
        stall_seconds: float = 60.0,
    ) -> None:
        self.content = content
        self.status = status
        self.headers = headers
        self.media_type = media_type
        self.stall_seconds = stall_seconds


def json_response(value: Any, *, status: int = 200, headers: Mapping[str, str] = NO_HEADERS) -> Response:
    """`value` (anything msgspec encodes) as a JSON answer."""
    return Response(status=status, body=msgspec.json.encode(value), headers=headers)
