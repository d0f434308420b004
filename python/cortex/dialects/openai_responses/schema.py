"""`POST /v1/responses` as it stands on the wire: the body, the items of `input`, the kinds of tools.

The body refuses fields it does not know. Items and tools are read leniently, since agents send back what servers gave
them and add to it with each release: what is not known there is named as ignored.
"""

from typing import Annotated, Any, Literal

import msgspec

from cortex.dialects.sampling_fields import SamplingFields

__all__ = [
    "CallItem",
    "CallOutputItem",
    "CustomTool",
    "FunctionTool",
    "MessageItem",
    "NamespaceTool",
    "ObjectFormat",
    "ReasoningItem",
    "ResponsesBody",
    "SchemaFormat",
    "TextFormat",
]

_Name = Annotated[str, msgspec.Meta(min_length=1)]


class _Wire(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    pass


class _Lenient(msgspec.Struct, kw_only=True):
    pass


class MessageItem(_Lenient):
    """A message; also the bare `{role, content}` without a type."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[dict[str, Any]]


class CallItem(_Lenient):
    """`function_call` and `custom_tool_call` of the history; the first has `arguments`, the second `input`."""

    call_id: _Name
    name: _Name
    namespace: str | None = None
    arguments: str = ""
    input: str = ""


class CallOutputItem(_Lenient):
    """What a call gave: text, or parts."""

    call_id: _Name
    output: str | list[dict[str, Any]]


class _Said(_Lenient):
    text: str = ""


class ReasoningItem(_Lenient):
    """Thinking that the client sends back. The summary is not read: only what we wrote ourselves counts."""

    content: list[_Said] | None = None
    encrypted_content: str | None = None


class FunctionTool(_Lenient):
    """A function, at the top level or inside a namespace."""

    name: _Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Grammar(_Lenient):
    type: str
    syntax: str | None = None
    definition: str | None = None


class CustomTool(_Lenient):
    """A tool whose input is free text."""

    name: _Name
    description: str | None = None
    format: _Grammar | None = None


class NamespaceTool(_Lenient):
    """Tools under a common name."""

    name: _Name
    tools: list[dict[str, Any]]


class TextFormat(_Wire, tag="text", tag_field="type"):
    """Plain text, the default."""


class ObjectFormat(_Wire, tag="json_object", tag_field="type"):
    """Any JSON object."""


class SchemaFormat(_Wire, tag="json_schema", tag_field="type"):
    """JSON of a schema."""

    name: str
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class _Text(_Wire):
    format: TextFormat | ObjectFormat | SchemaFormat | None = None
    verbosity: Any = None


class _Reasoning(_Wire):
    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None
    context: Any = None
    mode: Any = None


class _StreamOptions(_Wire):
    include_obfuscation: bool | None = None


class ResponsesBody(SamplingFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole body; null means not given, as the SDKs send it."""

    model: _Name
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: _Text | None = None
    reasoning: _Reasoning | None = None
    include: list[str] | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    truncation: Literal["auto", "disabled"] | None = None
    metadata: dict[str, str] | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    # Accepted without meaning here; named in `ignored`.
    client_metadata: Any = None
    max_tool_calls: Any = None
    prompt_cache_key: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    safety_identifier: Any = None
    service_tier: Any = None
    user: Any = None
    # Known and not offered: refused by name unless null, false or empty.
    background: Any = None
    context_management: Any = None
    conversation: Any = None
    moderation: Any = None
    prompt: Any = None
