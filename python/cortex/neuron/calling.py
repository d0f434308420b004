"""Calling tools: how the engine takes an answer apart, and the grammar of an answer that must be a call."""

from typing import Any

import msgspec

from cortex.dialects.neutral import ChatRequest, Tool
from cortex.dialects.structured import Structure

__all__ = ["call_structure", "is_forced", "parsing_of", "usable_tools"]


def usable_tools(asked: ChatRequest) -> tuple[Tool, ...]:
    """The tools that the answer may call."""
    return () if asked.tool_choice == "none" else asked.tools


def is_forced(asked: ChatRequest) -> bool:
    """Whether the answer must be a call."""
    return bool(asked.tools) and asked.tool_choice not in (None, "auto", "none")


def parsing_of(asked: ChatRequest) -> bytes:
    """What the engine needs to tell thoughts, text and calls apart."""
    tools = [{"name": tool.name, "parameters": tool.parameters} for tool in usable_tools(asked)]
    return msgspec.json.encode(
        {"tools": tools, "single": asked.parallel_tool_calls is False, "forced": is_forced(asked)}
    )


def call_structure(asked: ChatRequest, *, loose: bool = False) -> Structure:
    """One call as a JSON object, of the tool that is named or of any. `loose` asks of the arguments only that they are
    an object, for schemas with parts that no grammar has."""
    named = (asked.tool_choice or "").removeprefix("function:")
    wanted = [tool for tool in asked.tools if asked.tool_choice == "required" or tool.name == named]
    shared: dict[str, Any] = {}
    choices = [
        {
            "type": "object",
            "properties": {
                "name": {"const": tool.name},
                "arguments": {"type": "object"} if loose else _arguments(tool, index, shared),
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for index, tool in enumerate(wanted)
    ]
    schema: dict[str, Any] = choices[0] if len(choices) == 1 else {"anyOf": choices}
    if shared:
        schema = {**schema, "$defs": shared}
    return Structure(kind="json_schema", text=msgspec.json.encode(schema).decode(), field="tools")


def _arguments(tool: Tool, index: int, shared: dict[str, Any]) -> dict[str, Any]:
    """The schema of a tool's arguments; its definitions go among those that all tools share, under names of its own."""
    own = dict(tool.parameters)
    renamed = {}
    for place in ("$defs", "definitions"):
        for name, definition in own.pop(place, {}).items():
            renamed[f"#/{place}/{name}"] = f"#/$defs/{index}.{name}"
            shared[f"{index}.{name}"] = definition
    for name in [name for name in shared if name.startswith(f"{index}.")]:
        shared[name] = _renamed(shared[name], renamed)
    return {"type": "object", **_renamed(own, renamed)}


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            key: names.get(part, part) if key == "$ref" and isinstance(part, str) else _renamed(part, names)
            for key, part in value.items()
        }
    return [_renamed(part, names) for part in value] if isinstance(value, list) else value
