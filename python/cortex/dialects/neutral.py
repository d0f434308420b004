"""The neutral form that every dialect decodes to and encodes from: requests, messages, events."""

from typing import Any, Literal

import msgspec

from cortex.errors import CortexError
from cortex.types import FinishReason, Usage

__all__ = [
    "ChatEvent",
    "ChatRequest",
    "Ended",
    "Failed",
    "Image",
    "Message",
    "ReasoningDelta",
    "Sampling",
    "TextDelta",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
]


class Image(msgspec.Struct, frozen=True, kw_only=True, tag="image"):
    """An image given inline (`data:` URL) or by URL."""

    url: str


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call the model made; `arguments` is the JSON text as it stands on the wire."""

    id: str
    name: str
    arguments: str


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One turn. `content` is text or parts in order; `tool_call_id` only on tool results."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | tuple[str | Image, ...] = ""
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    is_error: bool = False
    name: str | None = None


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A function that the model may call; `parameters` is a JSON schema."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] = {}
    strict: bool | None = None


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """Sampling fields; None = not given (the model's generation_config, then the engine's default)."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: dict[str, float] | None = None


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A chat request in neutral words. `max_tokens` None = what is left of the context.

    `tool_choice` is auto, none, required or the name of a function (as `function:NAME`).
    `ignored` names accepted fields without meaning here, for the header `x-cortex-ignored`.
    """

    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    include_usage: bool = False
    max_tokens: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: tuple[str, ...] = ()
    sampling: Sampling = Sampling()
    n: int = 1
    tools: tuple[Tool, ...] = ()
    tool_choice: str | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    logprobs: bool = False
    top_logprobs: int | None = None
    thinking: bool | None = None
    template_kwargs: dict[str, Any] | None = None
    ignored: tuple[str, ...] = ()


class TextDelta(msgspec.Struct, frozen=True):
    """A piece of the answer; `tokens` is how many generated tokens it stands for (0 if unknown)."""

    text: str
    tokens: int = 0


class ReasoningDelta(msgspec.Struct, frozen=True):
    """A piece of the model's thinking."""

    text: str
    tokens: int = 0


class ToolCallDelta(msgspec.Struct, frozen=True):
    """A piece of a tool call: the first delta of an index has `id` and `name`, later ones only arguments."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    tokens: int = 0


class Ended(msgspec.Struct, frozen=True):
    """The regular end. `usage` None = the upstream did not say."""

    reason: FinishReason
    usage: Usage | None = None
    stop_sequence: str | None = None


class Failed(msgspec.Struct, frozen=True):
    """The stream broke after its first byte; encoded as the dialect's in-stream error event."""

    error: CortexError


ChatEvent = TextDelta | ReasoningDelta | ToolCallDelta | Ended | Failed
