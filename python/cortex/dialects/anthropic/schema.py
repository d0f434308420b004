"""`POST /v1/messages` as it stands on the wire: one struct for the body, one for each part of it."""

from typing import Annotated, Any, Literal

import msgspec

__all__ = [
    "Base64Source",
    "ChoiceAny",
    "ChoiceAuto",
    "ChoiceTool",
    "ImageBlock",
    "MessagesBody",
    "TextBlock",
    "ThinkingBlock",
    "ToolResultBlock",
    "ToolUseBlock",
    "WireTool",
    "WireTurn",
]


class _Wire(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    pass


class TextBlock(_Wire, tag="text", tag_field="type"):
    """A text block."""

    text: str
    cache_control: Any = None
    citations: Any = None


class Base64Source(_Wire, tag="base64", tag_field="type"):
    """Image data as it stands in a `data:` URL."""

    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str


class _UrlSource(_Wire, tag="url", tag_field="type"):
    url: Annotated[str, msgspec.Meta(min_length=1)]


class ImageBlock(_Wire, tag="image", tag_field="type"):
    """An image block."""

    source: Base64Source | _UrlSource
    cache_control: Any = None


class ThinkingBlock(_Wire, tag="thinking", tag_field="type"):
    """Thinking that the client sends back; what it holds counts only if the signature is ours."""

    thinking: str
    signature: str = ""


class _RedactedBlock(_Wire, tag="redacted_thinking", tag_field="type"):
    data: str = ""


class ToolUseBlock(_Wire, tag="tool_use", tag_field="type"):
    """A call the model made."""

    id: str
    name: str
    input: dict[str, Any]
    cache_control: Any = None
    caller: Any = None


class ToolResultBlock(_Wire, tag="tool_result", tag_field="type"):
    """What a call gave."""

    tool_use_id: str
    content: str | list[TextBlock | ImageBlock] | None = None
    is_error: bool | None = None
    cache_control: Any = None


class WireTurn(_Wire):
    """One turn; which blocks a role may have is checked when it is read."""

    role: Literal["user", "assistant", "system"]
    content: str | list[TextBlock | ImageBlock | ThinkingBlock | _RedactedBlock | ToolUseBlock | ToolResultBlock]


class WireTool(_Wire):
    """A tool of the client's own (`type` absent or `custom`); converted from `tools[i]` when it is read."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    input_schema: dict[str, Any]
    type: Literal["custom"] | None = None
    description: str | None = None
    strict: bool | None = None
    cache_control: Any = None
    allowed_callers: Any = None
    defer_loading: Any = None
    eager_input_streaming: Any = None
    input_examples: Any = None


class ChoiceAuto(_Wire, tag="auto", tag_field="type"):
    """The model decides."""

    disable_parallel_tool_use: bool | None = None


class ChoiceAny(_Wire, tag="any", tag_field="type"):
    """Some tool must be called."""

    disable_parallel_tool_use: bool | None = None


class ChoiceTool(_Wire, tag="tool", tag_field="type"):
    """This tool must be called."""

    name: str
    disable_parallel_tool_use: bool | None = None


class _ChoiceNone(_Wire, tag="none", tag_field="type"):
    """No tool may be called."""


class _Thinking(_Wire):
    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    display: Any = None


class _Format(_Wire):
    type: Literal["json_schema"]
    schema: dict[str, Any]


class _OutputConfig(_Wire):
    effort: Any = None
    format: _Format | None = None
    task_budget: Any = None


class _ContextManagement(_Wire):
    edits: list[dict[str, Any]] | None = None


class MessagesBody(_Wire):
    """The whole body, of messages and of count_tokens (which has no `max_tokens`)."""

    model: Annotated[str, msgspec.Meta(min_length=1)]
    messages: Annotated[list[WireTurn], msgspec.Meta(min_length=1)]
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None
    system: str | list[TextBlock] | None = None
    stream: bool | None = None
    stop_sequences: Annotated[list[Annotated[str, msgspec.Meta(min_length=1)]], msgspec.Meta(max_length=32)] | None = (
        None
    )
    temperature: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: ChoiceAuto | ChoiceAny | ChoiceTool | _ChoiceNone | None = None
    thinking: _Thinking | None = None
    output_config: _OutputConfig | None = None
    output_format: _Format | None = None
    context_management: _ContextManagement | None = None
    # Accepted without meaning here; named in `ignored`.
    billing_policy: Any = None
    cache_control: Any = None
    container: Any = None
    diagnostics: Any = None
    fallback_credit_token: Any = None
    inference_geo: Any = None
    metadata: Any = None
    service_tier: Any = None
    speed: Any = None
    # Known and not offered: refused by name unless null or empty.
    compaction: Any = None
    fallbacks: Any = None
    mcp_servers: Any = None
    thread: Any = None
