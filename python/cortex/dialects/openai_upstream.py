"""What an OpenAI-speaking host answers when it fails: its error bodies as our errors."""

import contextlib

import msgspec

from cortex.dialects.body import parse_body
from cortex.dialects.too_long import lengths_in, says_too_long
from cortex.errors import (
    BodyTooLarge,
    ContextLengthExceeded,
    CortexError,
    EngineFailed,
    InsufficientMemory,
    InvalidField,
    MalformedJson,
    ModelLoading,
    ModelNotFound,
    QueueFull,
    RequestError,
    ServiceUnavailable,
    ShuttingDown,
    TemplateFailed,
    UnsupportedParameter,
    UpstreamError,
    UpstreamLost,
    UpstreamMalformed,
)

__all__ = ["WireError", "decode_error", "error_of"]

# Only what a request may do wrong and a client can mend keeps the host's words; all else is told in ours.
_MENDABLE: dict[str, type[CortexError]] = {
    cls.code: cls
    for cls in (
        BodyTooLarge,
        InvalidField,
        MalformedJson,
        ModelNotFound,
        TemplateFailed,
        UnsupportedParameter,
    )
}
_TRANSIENT: dict[str, tuple[type[CortexError], str]] = {
    QueueFull.code: (QueueFull, "All places of the model are taken."),
    ShuttingDown.code: (ShuttingDown, "The host is shutting down."),
    InsufficientMemory.code: (InsufficientMemory, "The host has not enough free memory now."),
    ModelLoading.code: (ModelLoading, "The model is still loading."),
    ServiceUnavailable.code: (ServiceUnavailable, "The host cannot serve now."),
    EngineFailed.code: (EngineFailed, "The engine of the host failed."),
    UpstreamLost.code: (UpstreamLost, "The host lost the answer."),
}
_MESSAGE_LIMIT = 500
_NUMBERS = ("prompt_tokens", "limit", "limit_bytes", "waiting", "needed_bytes", "free_bytes")


class WireError(msgspec.Struct, frozen=True, kw_only=True):
    """The `error` object of the OpenAI envelope, as far as we read it; hosts differ in the types of `code`."""

    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: str | int | None = None
    prompt_tokens: int | None = None
    limit: int | None = None
    limit_bytes: int | None = None
    waiting: int | None = None
    needed_bytes: int | None = None
    free_bytes: int | None = None
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


class _Envelope(msgspec.Struct, frozen=True):
    error: WireError | str | None = None
    message: str | None = None
    type: str | None = None

    def told(self) -> WireError | str:
        """The error object; some servers have none around it."""
        return WireError(message=self.message, type=self.type) if self.error is None else self.error


_DECODER = msgspec.json.Decoder(_Envelope)


def error_of(wire: WireError | str, *, retry_after: float | None = None) -> CortexError:
    """The error class for a host's error object. The host's own words stand in a note (`__notes__`) for the log."""
    if isinstance(wire, str):
        wire = WireError(message=wire)
    code = str(wire.code)
    extras = {name: value for name in _NUMBERS if (value := getattr(wire, name)) is not None}
    error: CortexError
    if code == ContextLengthExceeded.code:
        error = _too_long(wire)
    elif (mendable := _MENDABLE.get(code)) is not None:
        error = mendable(wire.message or "The host refused the request.", param=wire.param, extras=extras)
    elif code in _TRANSIENT:
        cls, message = _TRANSIENT[code]
        error = cls(message, retry_after=retry_after, extras=extras)
    else:
        error = UpstreamError("The host ended the request with an error.")
    error.add_note(f"the host said: code={wire.code!r} type={wire.type!r} message={wire.message!r}")
    return error


def decode_error(status: int, body: bytes, *, retry_after: float | None = None) -> CortexError:
    """Our error for a host's answer that is not 200. What may pass later (429, 503) keeps its Retry-After."""
    told: WireError | str = WireError()
    with contextlib.suppress(RequestError):
        told = parse_body(_DECODER, body).told()
    wire = WireError(message=told) if isinstance(told, str) else told
    error = error_of(wire, retry_after=retry_after)
    if type(error) is not UpstreamError:
        return error
    error = _by_status(status, wire, retry_after) or error
    error.add_note(f"the host said: status={status} body={body[:_MESSAGE_LIMIT]!r}")
    return error


def _by_status(status: int, wire: WireError, retry_after: float | None) -> CortexError | None:
    """What the status says where the code says nothing: 1. full or away; 2. no completion; 3. too long a prompt; 4. no
    such model; 5. something else that the caller may mend, in the server's words."""
    message = (wire.message or "")[:_MESSAGE_LIMIT]
    if status in (429, 503):  # 1.
        return ServiceUnavailable("The host cannot serve now.", retry_after=retry_after)
    if status < 400:  # 2.
        return UpstreamMalformed("The host answered something that is no completion.")
    if status in (400, 413, 422) and says_too_long(f"{wire.type} {message}"):  # 3.
        return _too_long(wire)
    if status == 404:  # 4.
        return ModelNotFound("The host does not have the model.", param="model")
    if status in (400, 413, 422):  # 5.
        return RequestError(message or "The host refused the request.", param=wire.param)
    return None


def _too_long(wire: WireError) -> ContextLengthExceeded:
    """With the numbers, as far as the server says them."""
    told = {"prompt_tokens": wire.prompt_tokens or wire.n_prompt_tokens, "limit": wire.limit or wire.n_ctx}
    given = {name: number for name, number in told.items() if number is not None}
    extras = {**lengths_in(wire.message or ""), **given}
    return ContextLengthExceeded(wire.message or "The prompt is too long for the model.", extras=extras)
