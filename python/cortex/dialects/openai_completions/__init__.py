"""The codec of `POST /v1/completions`: requests, answers, streams and errors."""

from cortex.dialects.openai_completions.request import (
    IGNORED_FIELDS,
    CompletionRequest,
    decode_request,
    encode_request,
    require_supported,
)
from cortex.dialects.openai_completions.response import StreamEncoder, encode_response
from cortex.dialects.openai_completions.upstream import StreamDecoder
from cortex.dialects.openai_envelope import encode_error, status_of
from cortex.dialects.openai_upstream import decode_error

__all__ = [
    "IGNORED_FIELDS",
    "CompletionRequest",
    "StreamDecoder",
    "StreamEncoder",
    "decode_error",
    "decode_request",
    "encode_error",
    "encode_request",
    "encode_response",
    "require_supported",
    "status_of",
]
