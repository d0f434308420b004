"""What an OpenAI-speaking host answers when it fails: its error bodies as our errors."""

import msgspec

from cortex.dialects.body import parse_body
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
        ContextLengthExceeded,
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


class _Envelope(msgspec.Struct, frozen=True):
    error: WireError | str


_DECODER = msgspec.json.Decoder(_Envelope)


def error_of(wire: WireError | str, *, retry_after: float | None = None) -> CortexError:
    """The error class for a host's error object. The host's own words stand in a note (`__notes__`) for the log."""
    if isinstance(wire, str):
        wire = WireError(message=wire)
    code = str(wire.code)
    extras = {name: value for name in _NUMBERS if (value := getattr(wire, name)) is not None}
    error: CortexError
    if (mendable := _MENDABLE.get(code)) is not None:
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
    try:
        wire = parse_body(_DECODER, body).error
    except RequestError:
        wire = WireError(message=body[:200].decode("utf-8", "replace"))
    error = error_of(wire, retry_after=retry_after)
    if type(error) is not UpstreamError:
        return error
    notes = list(getattr(error, "__notes__", ()))
    if status in (429, 503):
        error = ServiceUnavailable("The host cannot serve now.", retry_after=retry_after)
    elif status < 400:
        error = UpstreamMalformed("The host answered something that is no completion.")
    else:
        error = UpstreamError(error.message)
    for note in notes:
        error.add_note(f"status {status}, {note}")
    return error
