"""What the OpenAI dialects share: the error envelope, usage, and the list of models."""

from collections.abc import Sequence
from typing import Any

import msgspec

from cortex.dialects.model_card import ModelCard
from cortex.errors import CapacityError, CortexError, RequestError
from cortex.types import Usage

__all__ = ["add_usage", "encode_error", "encode_model", "encode_models", "error_event", "status_of", "usage_object"]

_CORE = ("message", "type", "param", "code")


def status_of(error: CortexError) -> int:
    """The HTTP status of an error in this dialect: the class's own."""
    return error.status


def _error_object(error: CortexError) -> dict[str, Any]:
    core = {"message": error.advice, "type": _type_of(error), "param": error.param, "code": error.code}
    return {**{name: value for name, value in error.extras.items() if name not in _CORE}, **core}


def _type_of(error: CortexError) -> str:
    if error.status == 429:
        return "rate_limit_error"
    if error.status == 401:
        return "authentication_error"
    if isinstance(error, RequestError) or error.status == 422:
        return "invalid_request_error"
    return "overloaded_error" if isinstance(error, CapacityError) else "server_error"


def encode_error(error: CortexError, request_id: str | None = None) -> bytes:
    """The body `{"error": {message, type, param, code, ...extras}}`; status and Retry-After are the door's."""
    body: dict[str, Any] = {"error": _error_object(error)}
    if request_id is not None:
        body["request_id"] = request_id
    return msgspec.json.encode(body)


def error_event(error: CortexError, request_id: str | None = None) -> bytes:
    """The in-stream error; it ends the stream, without `[DONE]`, so that no client takes the answer for whole."""
    return b"data: " + encode_error(error, request_id) + b"\n\n"


def add_usage(total: Usage | None, more: Usage | None) -> Usage | None:
    """Usage of several choices together; unknown parts count nothing."""
    if total is None or more is None:
        return total or more
    return Usage(
        prompt_tokens=total.prompt_tokens + more.prompt_tokens,
        completion_tokens=total.completion_tokens + more.completion_tokens,
        cached_tokens=total.cached_tokens + more.cached_tokens,
        reasoning_tokens=total.reasoning_tokens + more.reasoning_tokens,
    )


def usage_object(usage: Usage) -> dict[str, Any]:
    """Usage in this dialect's words; the details are always there, since clients read them without asking."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def _model_object(card: ModelCard) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": card.id, "object": "model", "created": card.created, "owned_by": card.owned_by}
    if card.context_length is not None:
        entry["max_model_len"] = card.context_length
    return {**card.extra, **entry}


def encode_model(card: ModelCard) -> bytes:
    """The answer to `GET /v1/models/{id}`."""
    return msgspec.json.encode(_model_object(card))


def encode_models(cards: Sequence[ModelCard]) -> bytes:
    """The answer to `GET /v1/models`, in the order given."""
    return msgspec.json.encode({"object": "list", "data": [_model_object(card) for card in cards]})
