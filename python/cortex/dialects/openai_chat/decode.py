"""A chat completion request: the body's bytes to the neutral form."""

from typing import Any

import msgspec

from cortex.dialects.body import parse_body
from cortex.dialects.image import Image
from cortex.dialects.neutral import ChatRequest, Message, Tool, ToolCall
from cortex.dialects.openai_chat.schema import (
    ChatBody,
    FunctionChoice,
    ImagePart,
    PlainFormat,
    RefusalPart,
    TextPart,
    WireMessage,
)
from cortex.dialects.openai_fields import common_ignored, refuse_given, sampling_of, stop_of
from cortex.dialects.structured import Structure, structure_of
from cortex.errors import InvalidField, UnsupportedParameter

__all__ = ["IGNORED_FIELDS", "decode_request"]

IGNORED_FIELDS = (
    "annotations",
    "cache_control",
    "image_url.detail",
    "metadata",
    "prediction",
    "prompt_cache_breakpoint",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_details",
    "reasoning_effort",
    "safety_identifier",
    "service_tier",
    "store",
    "stream_options.continuous_usage_stats",
    "stream_options.include_obfuscation",
    "user",
    "verbosity",
)
"""Accepted without meaning on one's own hardware, and named in `x-cortex-ignored` whenever given (`store` only as
false, `reasoning_effort` where the model's template knows no effort, unless it is `none`, which switches thinking off).
Everything else is honoured or refused."""

_DECODER = msgspec.json.Decoder(ChatBody)
_HINTS = ("prediction", "prompt_cache_options", "prompt_cache_retention", "verbosity")
_REFUSED = ("audio", "function_call", "functions", "moderation", "web_search_options")


def decode_request(body: bytes) -> ChatRequest:
    """Decode a body. Raises MalformedJson, InvalidField, UnsupportedParameter, with `param` naming the field."""
    wire = parse_body(_DECODER, body)
    refuse_given(wire, _REFUSED)
    if wire.store:
        raise UnsupportedParameter("`store` is not supported: nothing is kept here.", param="store")
    if wire.top_logprobs is not None and not wire.logprobs:
        raise InvalidField("`top_logprobs` needs `logprobs: true`.", param="top_logprobs")
    ignored = _hints(wire)
    messages = tuple(_message(message, index, ignored) for index, message in enumerate(wire.messages))
    tools = _tools(wire, ignored)
    return ChatRequest(
        model=wire.model,
        messages=messages,
        stream=bool(wire.stream),
        include_usage=bool(wire.stream_options and wire.stream_options.include_usage),
        max_tokens=wire.max_tokens if wire.max_completion_tokens is None else wire.max_completion_tokens,
        min_tokens=wire.min_tokens or 0,
        ignore_eos=bool(wire.ignore_eos),
        stop=stop_of(wire),
        stop_token_ids=tuple(wire.stop_token_ids or ()),
        sampling=sampling_of(wire),
        n=wire.n or 1,
        tools=tools,
        tool_choice=_tool_choice(wire, tools),
        parallel_tool_calls=wire.parallel_tool_calls,
        response_format=_response_format(wire),
        structure=_structure(wire),
        logprobs=bool(wire.logprobs),
        top_logprobs=wire.top_logprobs,
        thinking=_thinking(wire),
        effort=None if wire.reasoning_effort == "none" else wire.reasoning_effort,
        template_kwargs=wire.chat_template_kwargs or None,
        ignored=tuple(sorted(ignored)),
    )


def _hints(wire: ChatBody) -> set[str]:
    """The names of the given fields that have no meaning here."""
    ignored = set(common_ignored(wire))
    ignored.update(name for name in _HINTS if getattr(wire, name) is not None)
    if wire.store is not None:
        ignored.add("store")
    if wire.reasoning_effort not in (None, "none"):
        ignored.add("reasoning_effort")
    return ignored


def _message(wire: WireMessage, index: int, ignored: set[str]) -> Message:
    ignored.update(
        name for name in ("annotations", "cache_control", "reasoning_details") if getattr(wire, name) is not None
    )
    for name in ("audio", "function_call"):
        if getattr(wire, name) is not None:
            param = f"messages[{index}].{name}"
            raise UnsupportedParameter(f"The field `{param}` is not supported.", param=param)
    assistant = wire.role == "assistant"
    if wire.role == "tool" and not wire.tool_call_id:
        raise InvalidField("A tool message needs `tool_call_id`.", param=f"messages[{index}].tool_call_id")
    if wire.content is None and not assistant:
        raise InvalidField(f"A {wire.role} message needs `content`.", param=f"messages[{index}].content")
    if wire.tool_calls and not assistant:
        raise InvalidField("Only an assistant message has `tool_calls`.", param=f"messages[{index}].tool_calls")
    calls = tuple(
        ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
        for call in wire.tool_calls or ()
    )
    return Message(
        role="system" if wire.role == "developer" else wire.role,
        content=_content(wire, ignored),
        reasoning=wire.reasoning_content or wire.reasoning or None,
        tool_calls=calls,
        tool_call_id=wire.tool_call_id,
        name=wire.name,
    )


def _content(wire: WireMessage, ignored: set[str]) -> str | tuple[str | Image, ...]:
    """Text parts are joined by a newline, unless an image stands among them."""
    if wire.content is None:
        return wire.refusal or ""
    if isinstance(wire.content, str):
        return wire.content
    parts: list[str | Image] = []
    for part in wire.content:
        if isinstance(part, RefusalPart):
            parts.append(part.refusal)
            continue
        ignored.update(name for name in ("cache_control", "prompt_cache_breakpoint") if getattr(part, name) is not None)
        if isinstance(part, TextPart):
            parts.append(part.text)
        else:
            parts.append(_image(part, ignored))
    texts = [part for part in parts if isinstance(part, str)]
    return "\n".join(texts) if len(texts) == len(parts) else tuple(parts)


def _image(part: ImagePart, ignored: set[str]) -> Image:
    if part.image_url.detail is not None:
        ignored.add("image_url.detail")
    return Image(url=part.image_url.url)


def _tools(wire: ChatBody, ignored: set[str]) -> tuple[Tool, ...]:
    tools = []
    for tool in wire.tools or ():
        if tool.cache_control is not None:
            ignored.add("cache_control")
        function = tool.function
        tools.append(
            Tool(
                name=function.name,
                description=function.description,
                parameters=function.parameters or {},
                strict=function.strict,
            )
        )
    return tuple(tools)


def _tool_choice(wire: ChatBody, tools: tuple[Tool, ...]) -> str | None:
    choice = wire.tool_choice
    if choice is None or choice in ("auto", "none"):
        return choice if isinstance(choice, str) else None
    if not tools:
        raise InvalidField("`tool_choice` needs `tools`.", param="tool_choice")
    if not isinstance(choice, FunctionChoice):
        return choice
    name = choice.function.name
    if all(tool.name != name for tool in tools):
        raise InvalidField(f"`tool_choice` names {name!r}, which is not among `tools`.", param="tool_choice")
    return f"function:{name}"


def _response_format(wire: ChatBody) -> dict[str, Any] | None:
    """The format as it stands on the wire; plain text is no format."""
    if wire.response_format is None or isinstance(wire.response_format, PlainFormat):
        return None
    plain: dict[str, Any] = msgspec.to_builtins(wire.response_format)
    if "json_schema" in plain:
        plain["json_schema"] = {key: value for key, value in plain["json_schema"].items() if value is not None}
    return plain


def _structure(wire: ChatBody) -> Structure | None:
    structure = structure_of(wire)
    if structure is not None and _response_format(wire) is not None:
        text = f"`response_format` and `{structure.field}` cannot be given together."
        raise InvalidField(text, param=structure.field)
    return structure


def _thinking(wire: ChatBody) -> bool | None:
    if wire.reasoning_effort == "none":
        return False
    wanted = (wire.chat_template_kwargs or {}).get("enable_thinking")
    return wanted if isinstance(wanted, bool) else None
