"""The codec of `POST /v1/messages` and `/v1/messages/count_tokens`: requests, answers, streams, errors, models."""

from cortex.dialects.anthropic.decode import IGNORED_FIELDS, decode_count_tokens, decode_request
from cortex.dialects.anthropic.encode import encode_count_tokens, encode_response
from cortex.dialects.anthropic.errors import encode_error, status_of
from cortex.dialects.anthropic.models import encode_model, encode_models
from cortex.dialects.anthropic.stream import StreamEncoder

__all__ = [
    "IGNORED_FIELDS",
    "StreamEncoder",
    "decode_count_tokens",
    "decode_request",
    "encode_count_tokens",
    "encode_error",
    "encode_model",
    "encode_models",
    "encode_response",
    "status_of",
]
