"""A Messages or count_tokens request: the body's bytes to the neutral form."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from cortex.dialects.anthropic.edits import apply_edits
from cortex.dialects.anthropic.schema import ChoiceAny, ChoiceAuto, ChoiceTool, MessagesBody, WireTool
from cortex.dialects.anthropic.turns import TurnReader, system_text
from cortex.dialects.body import field_error, parse_body
from cortex.dialects.neutral import ChatRequest, Message, Sampling, Tool
from cortex.dialects.openai_fields import refuse_given
from cortex.errors import InvalidField, UnsupportedParameter

__all__ = ["IGNORED_FIELDS", "decode_count_tokens", "decode_request"]

IGNORED_FIELDS = (
    "allowed_callers",
    "billing_policy",
    "cache_control",
    "caller",
    "citations",
    "container",
    "defer_loading",
    "diagnostics",
    "eager_input_streaming",
    "fallback_credit_token",
    "inference_geo",
    "input_examples",
    "metadata",
    "output_config.effort",
    "output_config.task_budget",
    "service_tier",
    "speed",
    "thinking.budget_tokens",
    "thinking.display",
)
"""Accepted without meaning on one's own hardware, and named in `x-cortex-ignored` whenever given. Not fields, but
also dropped: system blocks that begin with `x-anthropic-`, thinking whose signature is not ours, and the tools of the
vendor's service, which are named as `tools.TYPE`."""

_DECODER = msgspec.json.Decoder(MessagesBody)
_HINTS = (
    "billing_policy",
    "cache_control",
    "container",
    "diagnostics",
    "fallback_credit_token",
    "inference_geo",
    "metadata",
    "service_tier",
    "speed",
)
_REFUSED = ("compaction", "fallbacks", "mcp_servers", "thread")
_SERVER_TOOL = re.compile(r"(web_search|web_fetch|code_execution|tool_search_tool)_[a-z0-9_]{1,40}")
_TOOL_HINTS = ("allowed_callers", "cache_control", "defer_loading", "eager_input_streaming", "input_examples")


def decode_request(body: bytes, *, signing_key: bytes = b"") -> ChatRequest:
    """Decode a body of `/v1/messages`. Raises MalformedJson, InvalidField, UnsupportedParameter.

    `signing_key` is the one that the answers' thinking was signed with.
    """
    wire = parse_body(_DECODER, body)
    if wire.max_tokens is None:
        raise InvalidField("The field `max_tokens` is required.", param="max_tokens")
    if wire.messages[-1].role == "assistant":
        place = f"messages[{len(wire.messages) - 1}]"
        raise UnsupportedParameter("An answer that begins with given text (prefill) is not supported.", param=place)
    return _neutral(wire, signing_key)


def decode_count_tokens(body: bytes, *, signing_key: bytes = b"") -> ChatRequest:
    """Decode a body of `/v1/messages/count_tokens`: the same prompt fields, nothing of the answer is required."""
    return _neutral(parse_body(_DECODER, body), signing_key)


def _neutral(wire: MessagesBody, signing_key: bytes) -> ChatRequest:
    refuse_given(wire, _REFUSED)
    ignored = {name for name in _HINTS if getattr(wire, name) is not None}
    tools = _tools(wire.tools or (), ignored)
    choice, parallel = _tool_choice(wire, tools)
    return ChatRequest(
        model=wire.model,
        messages=_messages(wire, signing_key, ignored),
        stream=bool(wire.stream),
        include_usage=True,
        max_tokens=wire.max_tokens,
        stop=tuple(wire.stop_sequences or ()),
        sampling=Sampling(temperature=wire.temperature, top_p=wire.top_p, top_k=wire.top_k),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        response_format=_response_format(wire, ignored),
        thinking=_thinking(wire, ignored),
        effort=_effort(wire),
        ignored=tuple(sorted(ignored)),
    )


def _messages(wire: MessagesBody, signing_key: bytes, ignored: set[str]) -> tuple[Message, ...]:
    system = ""
    if wire.system is not None:
        system = system_text(wire.system)
        if not isinstance(wire.system, str):
            ignored.update(
                name for name in ("cache_control", "citations") for block in wire.system if getattr(block, name)
            )
    messages = TurnReader(model=wire.model, signing_key=signing_key, ignored=ignored).read(wire.messages, system)
    if wire.context_management is None:
        return messages
    return apply_edits(messages, wire.context_management.edits or ())


def _tools(raw: Sequence[dict[str, Any]], ignored: set[str]) -> tuple[Tool, ...]:
    """The client's own tools. Those that the vendor's service runs by itself are left out and named: the model does
    without them. Those that the client runs, but whose schema only the vendor's models know, are refused."""
    own = []
    for index, tool in enumerate(raw):
        kind = tool.get("type")
        if kind in (None, "custom"):
            own.append(_tool(tool, index, ignored))
        elif isinstance(kind, str) and _SERVER_TOOL.fullmatch(kind):
            ignored.add(f"tools.{kind}")
        else:
            place = f"tools[{index}].type"
            raise UnsupportedParameter(f"`{place}`: this server does not know tools of that kind.", param=place)
    return tuple(own)


def _tool(raw: dict[str, Any], index: int, ignored: set[str]) -> Tool:
    try:
        wire = msgspec.convert(raw, WireTool)
    except msgspec.ValidationError as exc:
        raise field_error(str(exc), f"tools[{index}]") from exc
    ignored.update(name for name in _TOOL_HINTS if getattr(wire, name) is not None)
    return Tool(name=wire.name, description=wire.description, parameters=wire.input_schema, strict=wire.strict)


def _tool_choice(wire: MessagesBody, tools: tuple[Tool, ...]) -> tuple[str | None, bool | None]:
    """The neutral choice, and whether several calls may stand in one answer."""
    choice = wire.tool_choice
    if choice is None:
        return None, None
    if not isinstance(choice, ChoiceAuto | ChoiceAny | ChoiceTool):
        return "none", None
    parallel = None if choice.disable_parallel_tool_use is None else not choice.disable_parallel_tool_use
    if isinstance(choice, ChoiceAuto):
        return "auto", parallel
    if not tools:
        raise InvalidField("`tool_choice` needs `tools`.", param="tool_choice")
    if isinstance(choice, ChoiceAny):
        return "required", parallel
    if all(tool.name != choice.name for tool in tools):
        raise InvalidField(
            f"`tool_choice` names {choice.name!r}, which is not among `tools`.", param="tool_choice.name"
        )
    return f"function:{choice.name}", parallel


def _response_format(wire: MessagesBody, ignored: set[str]) -> dict[str, Any] | None:
    config = wire.output_config
    wanted = wire.output_format
    if config is not None:
        wanted = config.format or wanted
        if config.effort is not None:
            ignored.add("output_config.effort")
        if config.task_budget is not None:
            ignored.add("output_config.task_budget")
    if wanted is None:
        return None
    return {"type": "json_schema", "json_schema": {"name": "output", "schema": wanted.schema, "strict": True}}


def _effort(wire: MessagesBody) -> str | None:
    effort = wire.output_config.effort if wire.output_config is not None else None
    return effort if isinstance(effort, str) else None


def _thinking(wire: MessagesBody, ignored: set[str]) -> bool | None:
    """Enabled, disabled, or (adaptive) the model's own choice; no engine here can hold a budget for it."""
    if wire.thinking is None:
        return None
    if wire.thinking.budget_tokens is not None:
        ignored.add("thinking.budget_tokens")
    if wire.thinking.display is not None:
        ignored.add("thinking.display")
    return {"enabled": True, "disabled": False, "adaptive": None}[wire.thinking.type]
