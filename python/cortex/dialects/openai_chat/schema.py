"""`POST /v1/chat/completions` as it stands on the wire: one struct for the body, one for each part of it."""

from typing import Annotated, Any, Literal

import msgspec

from cortex.dialects.openai_fields import CommonFields

__all__ = [
    "ChatBody",
    "FunctionChoice",
    "ImagePart",
    "JsonSchemaFormat",
    "PlainFormat",
    "RefusalPart",
    "TextPart",
    "WireMessage",
    "WireTool",
    "WireToolCall",
]


class _Wire(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    pass


class TextPart(_Wire, tag="text", tag_field="type"):
    """A text part."""

    text: str
    cache_control: Any = None
    prompt_cache_breakpoint: Any = None


class RefusalPart(_Wire, tag="refusal", tag_field="type"):
    """What an assistant said when it declined; read as its text."""

    refusal: str


class _ImageUrl(_Wire):
    url: Annotated[str, msgspec.Meta(min_length=1)]
    detail: str | None = None


class ImagePart(_Wire, tag="image_url", tag_field="type"):
    """An image part."""

    image_url: _ImageUrl
    cache_control: Any = None
    prompt_cache_breakpoint: Any = None


class _CalledFunction(_Wire):
    name: str
    arguments: str = ""


class WireToolCall(_Wire):
    """A call in the history; `index` stands there when a client stored stream deltas."""

    id: str
    function: _CalledFunction
    type: Literal["function"] = "function"
    index: int | None = None


class WireMessage(_Wire):
    """One turn of any role; which fields a role may have is checked when it is read."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart | ImagePart | RefusalPart] | None = None
    name: str | None = None
    tool_calls: list[WireToolCall] | None = None
    tool_call_id: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    # Parts of an earlier answer that clients send back, and cache marks: named in `ignored`.
    annotations: Any = None
    reasoning_details: Any = None
    cache_control: Any = None
    # Older and audio forms: only null passes.
    audio: Any = None
    function_call: Any = None


class _Function(_Wire):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class WireTool(_Wire, tag="function", tag_field="type"):
    """A function that the model may call."""

    function: _Function
    cache_control: Any = None


class _ChosenFunction(_Wire):
    name: str


class FunctionChoice(_Wire, tag="function", tag_field="type"):
    """`tool_choice` naming one function."""

    function: _ChosenFunction


class PlainFormat(_Wire, tag="text", tag_field="type"):
    """`response_format` text: the default."""


class _ObjectFormat(_Wire, tag="json_object", tag_field="type"):
    pass


class _JsonSchema(_Wire):
    name: str
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class JsonSchemaFormat(_Wire, tag="json_schema", tag_field="type"):
    """`response_format` with a schema."""

    json_schema: _JsonSchema


class ChatBody(CommonFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole body."""

    messages: Annotated[list[WireMessage], msgspec.Meta(min_length=1)]
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None
    tools: list[WireTool] | None = None
    tool_choice: Literal["auto", "none", "required"] | FunctionChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: PlainFormat | _ObjectFormat | JsonSchemaFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    modalities: list[Literal["text"]] | None = None
    store: bool | None = None
    # Hints without a meaning on one's own hardware: named in `ignored`.
    prediction: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    verbosity: Any = None
    # Known and not offered: refused by name unless null, false or empty.
    audio: Any = None
    function_call: Any = None
    functions: Any = None
    moderation: Any = None
    web_search_options: Any = None
