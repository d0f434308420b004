"""Tools for a model whose template knows none: they are told in the system text, and calls and results are text.

The form is the one that most models were trained on: a JSON object between `<tool_call>` tags, which is also what the
engine then reads the answer for.
"""

from typing import Any

import msgspec

from cortex.dialects.neutral import Tool

__all__ = ["as_text", "told"]

_INTRODUCTION = """You can call tools. To call one, write a JSON object with its name and its arguments, like this:
<tool_call>
{"name": "NAME", "arguments": {...}}
</tool_call>
Then stop: the result comes in the next turn. Answer without a tool where none is needed. The tools, one a line:
"""


def told(tools: tuple[Tool, ...]) -> str:
    """The tools as part of the system text."""
    lines = []
    for tool in tools:
        shown: dict[str, Any] = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
        lines.append(msgspec.json.encode({key: value for key, value in shown.items() if value is not None}).decode())
    return _INTRODUCTION + "\n".join(lines)


def as_text(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same turns without roles and fields for tools: calls stand in the text of the assistant, and results in turns
    of the user, those in a row in one."""
    plain: list[dict[str, Any]] = []
    for turn in turns:
        if turn["role"] == "tool":
            text = f"<tool_response>\n{turn['content']}\n</tool_response>"
            if plain and plain[-1]["role"] == "user" and plain[-1]["content"].endswith("</tool_response>"):
                plain[-1]["content"] += f"\n{text}"
            else:
                plain.append({"role": "user", "content": text})
        elif "tool_calls" in turn:
            calls = [_call(call["function"]) for call in turn["tool_calls"]]
            kept = {key: value for key, value in turn.items() if key != "tool_calls"}
            plain.append({**kept, "content": "\n".join(part for part in (turn["content"], *calls) if part)})
        else:
            plain.append(turn)
    return plain


def _call(function: dict[str, Any]) -> str:
    called = {"name": function["name"], "arguments": function["arguments"]}
    return f"<tool_call>\n{msgspec.json.encode(called).decode()}\n</tool_call>"
