"""Prompts: a neutral chat request as the JSON that chat templates expect."""

from typing import Any

import msgspec

from cortex.dialects.neutral import ChatRequest, Message, ToolCall
from cortex.errors import InvalidField

__all__ = ["template_kwargs", "template_messages", "template_tools"]

_OWN = ("messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token")
_KWARGS_BYTES = 16 * 1024


def template_messages(request: ChatRequest) -> bytes:
    """The turns. All system text is one leading message, since many templates refuse any other."""
    system = [_text(message) for message in request.messages if message.role == "system"]
    turns: list[dict[str, Any]] = [_turn(message) for message in request.messages if message.role != "system"]
    if system:
        turns.insert(0, {"role": "system", "content": "\n\n".join(system)})
    return msgspec.json.encode(turns)


def template_tools(request: ChatRequest) -> bytes | None:
    """The tools that the model may see; none when it may call none."""
    if not request.tools or request.tool_choice == "none":
        return None
    functions = []
    for tool in request.tools:
        function: dict[str, Any] = {"name": tool.name}
        if tool.description is not None:
            function["description"] = tool.description
        function["parameters"] = tool.parameters
        functions.append({"type": "function", "function": function})
    return msgspec.json.encode(functions)


def template_kwargs(request: ChatRequest) -> bytes | None:
    """Further arguments of the template. Raises InvalidField for names that are the engine's own, or too much."""
    kwargs = dict(request.template_kwargs or {})
    if request.thinking is not None:
        kwargs["enable_thinking"] = request.thinking
    if not kwargs:
        return None
    own = next((name for name in _OWN if name in kwargs), None)
    if own is not None:
        raise InvalidField(f"`chat_template_kwargs.{own}` is set by the server.", param=f"chat_template_kwargs.{own}")
    encoded = msgspec.json.encode(kwargs)
    if len(encoded) > _KWARGS_BYTES:
        text = f"`chat_template_kwargs` has {len(encoded)} bytes; at most {_KWARGS_BYTES} are taken."
        raise InvalidField(text, param="chat_template_kwargs")
    return encoded


def _turn(message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role, "content": _text(message)}
    if message.reasoning is not None:
        turn["reasoning_content"] = message.reasoning
    if message.tool_calls:
        turn["tool_calls"] = [_call(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        turn["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        turn["name"] = message.name
    return turn


def _text(message: Message) -> str:
    """The text; templates have no word for a failed tool call, so its result says so itself."""
    parts = (message.content,) if isinstance(message.content, str) else message.content
    text = "\n".join(part for part in parts if isinstance(part, str))
    return f"Error: {text}" if message.is_error else text


def _call(call: ToolCall) -> dict[str, Any]:
    """Arguments are text on the wire and an object in templates; what is no JSON stays the text it is."""
    try:
        arguments: Any = msgspec.json.decode(call.arguments) if call.arguments else {}
    except (msgspec.DecodeError, RecursionError):
        arguments = call.arguments
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}
