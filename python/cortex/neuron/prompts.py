"""Prompts: a neutral chat request as the JSON that a model's chat template expects."""

import hashlib
import re
from typing import Any

import msgspec

from cortex.dialects.neutral import ChatRequest, Message, ToolCall
from cortex.errors import InvalidField
from cortex.neuron.calling import usable_tools
from cortex.neuron.probing import SWITCHES
from cortex.neuron.told_tools import as_text, told

__all__ = ["PromptStyle", "template_kwargs", "template_messages", "template_tools"]

_OWN = ("messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token")
_KWARGS_BYTES = 16 * 1024
_SHORT_ID = re.compile(r"[0-9A-Za-z]{9}")
_EFFORTS = {"minimal": "low", "xhigh": "high", "max": "high"}  # templates know low, medium and high


class PromptStyle(msgspec.Struct, frozen=True, kw_only=True):
    """What a template takes: `capabilities` as probing found them, `tool_format` as the engine names it."""

    capabilities: frozenset[str]
    tool_format: str | None = None

    @property
    def shows_tools(self) -> bool:
        """Whether the template tells the model of tools; where it does not we do, in text."""
        return "tools_template" in self.capabilities


def template_messages(request: ChatRequest, style: PromptStyle) -> bytes:
    """The turns. All system text is one leading message, since many templates refuse any other; where a template
    refuses that too, it goes before the first turn's text."""
    system = [_text(message) for message in request.messages if message.role == "system"]
    turns: list[dict[str, Any]] = [_turn(message) for message in request.messages if message.role != "system"]
    if style.tool_format == "Mistral":
        _shorten_ids(turns)
    if not style.shows_tools:
        turns = as_text(turns)
        if tools := usable_tools(request):
            system.append(told(tools))
    text = "\n\n".join(system)
    if system and ("system" in style.capabilities or not turns):
        turns.insert(0, {"role": "system", "content": text})
    elif system:
        turns[0] = {**turns[0], "content": f"{text}\n\n{turns[0]['content']}"}
    return msgspec.json.encode(turns)


def template_tools(request: ChatRequest, style: PromptStyle) -> bytes | None:
    """The tools that the model may see; none when it may call none, or the template does not show them."""
    tools = usable_tools(request)
    if not tools or not style.shows_tools:
        return None
    functions = []
    for tool in tools:
        function: dict[str, Any] = {"name": tool.name}
        if tool.description is not None:
            function["description"] = tool.description
        function["parameters"] = tool.parameters
        functions.append({"type": "function", "function": function})
    return msgspec.json.encode(functions)


def template_kwargs(request: ChatRequest, style: PromptStyle) -> bytes | None:
    """Further arguments of the template. Raises InvalidField for names that are the engine's own, or too much."""
    kwargs = dict(request.template_kwargs or {})
    if request.thinking is not None:
        switch = next((name for name in SWITCHES if name in style.capabilities), SWITCHES[0])
        kwargs[switch] = request.thinking
    if request.effort is not None:
        kwargs.setdefault("reasoning_effort", _EFFORTS.get(request.effort, request.effort))
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
        # Some templates know it by another name, and one of them refuses it beside text and a call.
        if not (message.tool_calls and turn["content"]):
            turn["thinking"] = message.reasoning
    if message.tool_calls:
        turn["tool_calls"] = [_call(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        turn["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        turn["name"] = message.name
    return turn


def _shorten_ids(turns: list[dict[str, Any]]) -> None:
    """One family's template refuses ids of other lengths than its own; those of one call stay the same."""
    for turn in turns:
        for call in turn.get("tool_calls", ()):
            call["id"] = _short_id(call["id"])
        if "tool_call_id" in turn:
            turn["tool_call_id"] = _short_id(turn["tool_call_id"])


def _short_id(id: str) -> str:
    return id if _SHORT_ID.fullmatch(id) else hashlib.sha256(id.encode()).hexdigest()[:9]


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
