"""The codec of `POST /v1/responses`: requests, answers and streams; errors are those of the OpenAI envelope."""

from cortex.dialects.openai_responses.ignored import IGNORED_FIELDS
from cortex.dialects.openai_responses.kept import page_of, read_page, referenced, with_references
from cortex.dialects.openai_responses.request import ResponsesRequest, parse_request, read_request
from cortex.dialects.openai_responses.response import encode_response
from cortex.dialects.openai_responses.stream import StreamEncoder

__all__ = [
    "IGNORED_FIELDS",
    "ResponsesRequest",
    "StreamEncoder",
    "encode_response",
    "page_of",
    "parse_request",
    "read_page",
    "read_request",
    "referenced",
    "with_references",
]
