"""The neutral form that every dialect decodes to and encodes from: requests, messages, events.

Also here: `require_supported`, the one place that says which fields an engine must have a capability for.
"""

from typing import Any, Literal

import msgspec

from cortex.dialects.image import Image
from cortex.dialects.logprobs import TokenLogprob
from cortex.dialects.structured import Structure
from cortex.errors import CortexError, UnsupportedParameter
from cortex.types import FinishReason, Usage

__all__ = [
    "ChatEvent",
    "ChatRequest",
    "Ended",
    "Failed",
    "Message",
    "ReasoningDelta",
    "Sampling",
    "TextDelta",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "require_supported",
]


# What the dialects call `effort`: named as ignored until an engine honours it.
_EFFORT_FIELDS = ("output_config.effort", "reasoning.effort", "reasoning_effort")
_SWITCHES = ("enable_thinking", "thinking")


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
    """Sampling fields; None = not given (the model's generation_config, then the engine's default).

    `top_k` 0 means that every token stays in; `seed` is any signed 64-bit number.
    """

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
    `response_format` and `structure` (the same in vLLM's words, which go further) exclude each other.
    `effort` is how much to think, in the client's word for it.
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
    stop_token_ids: tuple[int, ...] = ()
    sampling: Sampling = Sampling()
    n: int = 1
    tools: tuple[Tool, ...] = ()
    tool_choice: str | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    structure: Structure | None = None
    logprobs: bool = False
    top_logprobs: int | None = None
    thinking: bool | None = None
    effort: str | None = None
    template_kwargs: dict[str, Any] | None = None
    ignored: tuple[str, ...] = ()


class TextDelta(msgspec.Struct, frozen=True):
    """A piece of the answer; `tokens` is how many generated tokens it stands for (0 if unknown).

    `logprobs`, where asked for, has an entry for each token; the text of some may come later or never.
    """

    text: str
    tokens: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()


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


def require_supported(request: ChatRequest, capabilities: frozenset[str]) -> ChatRequest:
    """The request an engine with these capabilities runs, or UnsupportedParameter naming the field it cannot honour.

    Capabilities: `n`, `logprobs`, `logit_bias`, `structured`, `images`, `reasoning` (the model thinks), its switch
    (`enable_thinking` or `thinking`), `reasoning_effort`, `tools` (calls are parsed) and `tools_template` (calls are
    not parsed, but the model's template shows the tools).
    1. A field that changes the answer and has no capability is refused.
    2. A wish to think, or not to, or how much, is dropped and named in `ignored` where the model has no choice: agents
       always ask. A model that thinks anyway fulfils the wish to, and one that never does the wish not to.
    3. Tools without `tools`: a forced call is refused; else they stay if the template shows them and may be used,
       and are dropped and named in `ignored` otherwise.
    """
    structure = request.structure
    needs = {
        "n": ("n", request.n > 1),
        "logprobs": ("logprobs", request.logprobs or request.top_logprobs is not None),
        "logit_bias": ("logit_bias", bool(request.sampling.logit_bias)),
        "response_format": ("structured", request.response_format is not None),
        "" if structure is None else structure.field: ("structured", structure is not None),
    }
    for field, (capability, wanted) in needs.items():  # 1.
        if wanted and capability not in capabilities:
            raise UnsupportedParameter(f"The model cannot honour `{field}` here; leave it out.", param=field)
    if "images" not in capabilities:
        _refuse_images(request.messages)
    return _fit_tools(_fit_thinking(request, capabilities), capabilities)  # 2. and 3.


def _fit_thinking(request: ChatRequest, capabilities: frozenset[str]) -> ChatRequest:
    ignored = request.ignored
    switched = not capabilities.isdisjoint(_SWITCHES)
    thinking, effort = request.thinking, request.effort
    if thinking is not None and not switched and thinking is not ("reasoning" in capabilities):
        thinking, ignored = None, (*ignored, "thinking")
    if "reasoning_effort" in capabilities:
        ignored = tuple(name for name in ignored if effort is None or name not in _EFFORT_FIELDS)
    else:
        effort = None
    return msgspec.structs.replace(request, thinking=thinking, effort=effort, ignored=ignored)


def _refuse_images(messages: tuple[Message, ...]) -> None:
    for index, message in enumerate(messages):
        if not isinstance(message.content, str) and any(isinstance(part, Image) for part in message.content):
            raise UnsupportedParameter("The model takes text only, no images.", param=f"messages[{index}].content")


def _fit_tools(request: ChatRequest, capabilities: frozenset[str]) -> ChatRequest:
    if not request.tools or "tools" in capabilities:
        return request
    choice = request.tool_choice
    if choice not in (None, "auto", "none"):
        raise UnsupportedParameter(
            "The model cannot be made to call a tool here; use `auto` or leave it out.", param="tool_choice"
        )
    if choice != "none" and "tools_template" in capabilities:
        return request
    named = ("tools", "tool_choice" if choice == "auto" else None)
    parallel = None if request.parallel_tool_calls is None else "parallel_tool_calls"
    dropped = tuple(name for name in (*named, parallel) if name is not None)
    return msgspec.structs.replace(
        request, tools=(), tool_choice=None, parallel_tool_calls=None, ignored=(*request.ignored, *dropped)
    )
