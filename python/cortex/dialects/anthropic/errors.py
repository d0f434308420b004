"""Errors in Anthropic's words: status, type and message of every class of our tree."""

import msgspec

from cortex.errors import CapacityError, ContextLengthExceeded, CortexError

__all__ = ["encode_error", "error_event", "status_of"]

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def status_of(error: CortexError) -> int:
    """The HTTP status: what may pass later is 529, what broke on our side is 500, the rest keeps its own."""
    if isinstance(error, CapacityError) and error.status != 429:
        return 529
    return 500 if error.status >= 500 else error.status


def _type_of(status: int) -> str:
    if status in _TYPES:
        return _TYPES[status]
    return "api_error" if status >= 500 else "invalid_request_error"


def _message_of(error: CortexError) -> str:
    """The message. Claude Code reads the two numbers of a prompt that is too long out of exactly this sentence."""
    if isinstance(error, ContextLengthExceeded):
        tokens, limit = error.extras.get("prompt_tokens"), error.extras.get("limit")
        if isinstance(tokens, int) and isinstance(limit, int):
            return f"prompt is too long: {tokens} tokens > {limit} maximum"
    return error.advice


def encode_error(error: CortexError, request_id: str | None = None) -> bytes:
    """The body `{"type": "error", "error": {type, message}, "request_id"}`."""
    detail = {"type": _type_of(status_of(error)), "message": _message_of(error)}
    return msgspec.json.encode({"type": "error", "error": detail, "request_id": request_id})


def error_event(error: CortexError, request_id: str | None = None) -> bytes:
    """The in-stream error, which ends the stream."""
    return b"event: error\ndata: " + encode_error(error, request_id) + b"\n\n"
