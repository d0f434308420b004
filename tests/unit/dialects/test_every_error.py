"""Every class of the error tree in every dialect: statuses and words that clients know, whole and inside a stream."""

import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from openai.types.responses import ResponseError

from cortex import errors
from cortex.dialects import anthropic, openai_chat
from cortex.dialects.anthropic.errors import error_event as anthropic_event
from cortex.dialects.openai_envelope import error_event as openai_event
from cortex.dialects.openai_responses.response import error_object
from cortex.dialects.sse import SseParser
from cortex.errors import CapacityError, ContextLengthExceeded, CortexError, RequestError

ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}
RETRIED = (408, 409, 429)  # and all from 500 on: what the SDKs of both vendors try again


def tree(kind: type[CortexError] = CortexError) -> Iterator[type[CortexError]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from tree(below)


CLASSES = sorted(set(tree()), key=lambda kind: kind.__name__)


def made(kind: type[CortexError]) -> CortexError:
    return kind("It went wrong.", param="here", extras={"message": "hidden", "number": 7})


@pytest.mark.parametrize("kind", CLASSES)
def test_in_openais_words(kind: type[CortexError]) -> None:
    error = made(kind)
    told = json.loads(openai_chat.encode_error(error, "req_1"))
    assert told["request_id"] == "req_1"
    assert (told["error"]["code"], told["error"]["param"], told["error"]["number"]) == (kind.code, "here", 7)
    assert told["error"]["message"].startswith("It went wrong.")
    assert told["error"]["type"] in (
        *("invalid_request_error", "authentication_error", "rate_limit_error", "overloaded_error", "server_error"),
    )
    assert openai_chat.status_of(error) == kind.status
    assert json.loads(SseParser().feed(openai_event(error, "req_1"))[0].data) == told


@pytest.mark.parametrize("kind", CLASSES)
def test_in_anthropics_words(kind: type[CortexError]) -> None:
    error = made(kind)
    status = anthropic.status_of(error)
    told = json.loads(anthropic.encode_error(error, "req_1"))
    assert (told["type"], told["request_id"]) == ("error", "req_1")
    assert told["error"]["type"] == ANTHROPIC_TYPES[status]
    event = SseParser().feed(anthropic_event(error, "req_1"))[0]
    assert (event.event, json.loads(event.data)) == ("error", told)


@pytest.mark.parametrize("kind", CLASSES)
def test_as_a_response_that_failed(kind: type[CortexError]) -> None:
    codes: Any = get_args(ResponseError.model_fields["code"].annotation)
    code = error_object(made(kind))["code"]
    # The one that is not in the vendor's list is what agents read out of it to compact a conversation.
    assert code in (*codes, ContextLengthExceeded.code)


@pytest.mark.parametrize("kind", CLASSES)
def test_what_may_pass_is_tried_again_and_says_when_and_nothing_else_is(kind: type[CortexError]) -> None:
    error = made(kind)
    for status in (openai_chat.status_of(error), anthropic.status_of(error)):
        again = status in RETRIED or status >= 500
        if isinstance(error, CapacityError):
            assert again
            assert error.retry_after is not None
        elif isinstance(error, RequestError) and error.retry_after is None:
            assert not again or status == 408
