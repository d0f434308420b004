"""What other servers answer when they fail, as our errors: codes, statuses, the numbers of too long a prompt."""

import json
from typing import Any

import pytest

from cortex.dialects import anthropic
from cortex.dialects.openai_upstream import decode_error
from cortex.errors import (
    ContextLengthExceeded,
    CortexError,
    InvalidField,
    ModelNotFound,
    RequestError,
    ServiceUnavailable,
    UpstreamError,
    UpstreamMalformed,
)


def said(message: str, **fields: Any) -> bytes:
    return json.dumps({"error": {"message": message, **fields}}).encode()


@pytest.mark.parametrize(
    ("body", "tokens", "limit"),
    [
        (
            said(
                "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4500 in the "
                "messages, 500 in the completion). Please reduce the length.",
                type="BadRequestError",
                code=400,
            ),
            4500,
            4096,
        ),
        (
            json.dumps(
                {
                    "object": "error",
                    "message": "This model's maximum context length is 4096 tokens. However, your request has 5000 "
                    "input tokens.",
                    "type": "BadRequestError",
                    "code": 400,
                }
            ).encode(),
            5000,
            4096,
        ),
        (
            said(
                "This model's maximum context length is 128000 tokens. However, your messages resulted in 130001 "
                "tokens.",
                type="invalid_request_error",
                code="context_length_exceeded",
            ),
            130001,
            128000,
        ),
        (
            said(
                "the request exceeds the available context size, try increasing it",
                type="exceed_context_size_error",
                code=400,
                n_prompt_tokens=9000,
                n_ctx=8192,
            ),
            9000,
            8192,
        ),
        (said("request (9000 tokens) exceeds the available context size (8192 tokens)", code=400), 9000, 8192),
        (said("The input (5000 tokens) is longer than the model's context length (4096 tokens)."), 5000, 4096),
        (said("input length exceeds the context length"), None, None),
        (said("too long", code="context_length_exceeded", prompt_tokens=9, limit=8), 9, 8),
    ],
)
def test_a_prompt_that_is_too_long_is_told_with_its_numbers(body: bytes, tokens: int | None, limit: int | None) -> None:
    error = decode_error(400, body)
    assert isinstance(error, ContextLengthExceeded)
    assert (error.extras.get("prompt_tokens"), error.extras.get("limit")) == (tokens, limit)
    if tokens is not None:
        words = json.loads(anthropic.encode_error(error))["error"]["message"]
        assert words == f"prompt is too long: {tokens} tokens > {limit} maximum"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, said("max_tokens is too large: 9000. This model's maximum context length is 4096 tokens and your request "
                   "has 12 input tokens", code=400), RequestError),
        (400, said("temperature must be positive", type="BadRequestError", code=400), RequestError),
        (422, b'{"error": "no such field"}', RequestError),
        (400, said("wrong", code="invalid_value", param="top_p"), InvalidField),
        (404, said("The model `x` does not exist.", type="NotFoundError", code=404), ModelNotFound),
        (401, said("Incorrect API key provided: sk-secret", code="invalid_api_key"), UpstreamError),
        (403, b"<html>", UpstreamError),
        (429, said("slow down"), ServiceUnavailable),
        (503, b"loading", ServiceUnavailable),
        (500, said("secret detail"), UpstreamError),
        (204, b"", UpstreamMalformed),
        (400, b"<html>secret</html>", RequestError),
    ],
)  # fmt: skip
def test_the_status_says_what_the_code_does_not(status: int, body: bytes, kind: type[CortexError]) -> None:
    error = decode_error(status, body, retry_after=7.0)
    assert type(error) is kind
    assert "secret" not in error.message
    if kind is ServiceUnavailable:
        assert error.retry_after == 7.0
    if status == 400 and b"temperature" in body:
        assert error.message == "temperature must be positive"
    assert any("the host said" in note for note in error.__notes__)
