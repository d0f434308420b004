"""The codec of `POST /v1/chat/completions`: requests, answers, streams, errors, and the list of models."""

from cortex.dialects.openai_chat.decode import IGNORED_FIELDS, decode_request
from cortex.dialects.openai_chat.encode import encode_request, encode_response
from cortex.dialects.openai_chat.stream import StreamEncoder
from cortex.dialects.openai_chat.upstream import StreamDecoder, decode_response
from cortex.dialects.openai_envelope import encode_error, encode_model, encode_models, status_of
from cortex.dialects.openai_upstream import decode_error

__all__ = [
    "IGNORED_FIELDS",
    "StreamDecoder",
    "StreamEncoder",
    "decode_error",
    "decode_request",
    "decode_response",
    "encode_error",
    "encode_model",
    "encode_models",
    "encode_request",
    "encode_response",
    "status_of",
]
