"""Between Robyn's request and response classes and ours."""

import secrets
from collections.abc import Mapping

from cortex.http.message import Request, Response, Stream
from cortex.http.shim import Headers, RobynRequest, RobynResponse, StreamingResponse

__all__ = ["REQUEST_ID", "StreamCarrier", "from_robyn", "header_pairs", "request_id", "to_robyn"]

REQUEST_ID = "x-request-id"
_OTHER_ID = "request-id"  # where Anthropic's SDK looks for it
_ID_LIMIT = 128


class StreamCarrier(StreamingResponse):
    """Takes our Stream through Robyn's handler wrapper, which lets its own streaming class pass untouched.

    The parent's constructor is not called on purpose: it binds the generator to a thread.
    """

    def __init__(self, stream: Stream, headers: list[tuple[str, str]]) -> None:
        self.stream = stream
        self.pairs = headers


def request_id(offered: str | None) -> str:
    """The caller's id where it is short printable ASCII without spaces, else a new one."""
    if offered and len(offered) <= _ID_LIMIT and offered.isascii() and offered.isprintable() and " " not in offered:
        return offered
    return "req_" + secrets.token_hex(12)


def from_robyn(request: RobynRequest) -> Request:
    """Our Request from Robyn's; Robyn hands a body over as text where it can, so it goes back to bytes."""
    body = request.body
    headers = {name.lower(): value for name, value in request.headers.to_dict().items()}
    return Request(
        method=request.method,
        path=request.url.path,
        id=request_id(headers.get(REQUEST_ID)),
        path_params=dict(request.path_params),
        query={name: values[-1] for name, values in request.query_params.to_dict().items()},
        headers=headers,
        body=body.encode() if isinstance(body, str) else bytes(body),
        client=request.ip_addr,
    )


def header_pairs(given: Mapping[str, str], media_type: str, id_: str) -> list[tuple[str, str]]:
    """Lower-case header pairs with content type and request id, each once; the id under both vendors' names."""
    pairs = {name.lower(): value for name, value in given.items()}
    pairs.setdefault("content-type", media_type)
    pairs.setdefault(REQUEST_ID, id_)
    pairs.setdefault(_OTHER_ID, pairs[REQUEST_ID])
    if pairs["content-type"].startswith("text/event-stream"):
        pairs.setdefault("cache-control", "no-cache")
        pairs.setdefault("x-accel-buffering", "no")
    return list(pairs.items())


def to_robyn(answer: Response | Stream, id_: str) -> RobynResponse | StreamCarrier:
    """Robyn's response for ours; a Stream travels in a carrier that only our adapter can send."""
    pairs = header_pairs(answer.headers, answer.media_type, id_)
    if isinstance(answer, Stream):
        return StreamCarrier(answer, pairs)
    return RobynResponse(answer.status, Headers(dict(pairs)), answer.body)
