"""Tools of a Responses request as plain functions, and how the calls of these go back under their own names.

A function stays what it is. One in a namespace becomes `NAMESPACE__NAME`. A custom tool, whose input is free text,
becomes a function with one text parameter. Kinds that only the vendor's service has are left out and named.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from cortex.dialects.body import field_error
from cortex.dialects.neutral import Tool
from cortex.dialects.openai_responses.ignored import Ignored
from cortex.dialects.openai_responses.schema import CustomTool, FunctionTool, NamespaceTool
from cortex.errors import InvalidField, UnsupportedParameter

__all__ = ["CalledAs", "custom_arguments", "custom_input", "flat_name", "read_choice", "read_tools"]

T = TypeVar("T")
_HINTS = ("allowed_callers", "defer_loading", "output_schema")
_INPUT = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}


class CalledAs(msgspec.Struct, frozen=True):
    """What a function is called in the client's words."""

    name: str
    namespace: str | None = None
    custom: bool = False


def flat_name(name: str, namespace: str | None) -> str:
    """The function's name for the model."""
    return f"{namespace}__{name}" if namespace else name


def custom_arguments(text: str) -> str:
    """The input of a custom tool as the arguments of its function."""
    return msgspec.json.encode({"input": text}).decode()


def custom_input(arguments: str) -> str:
    """The reverse; arguments that are not of this form are the input as they stand."""
    try:
        value = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return arguments
    text = value.get("input") if isinstance(value, dict) else None
    return text if isinstance(text, str) else arguments


def read_tools(raw: Sequence[Mapping[str, Any]], ignored: Ignored) -> tuple[tuple[Tool, ...], dict[str, CalledAs]]:
    """The functions, and what those are called whose name or kind differs. Raises InvalidField."""
    reader = _Reader(ignored)
    for index, tool in enumerate(raw):
        reader.read(tool, f"tools[{index}]", None)
    return tuple(reader.tools.values()), reader.called_as


class _Reader:
    def __init__(self, ignored: Ignored) -> None:
        self._ignored = ignored
        self.tools: dict[str, Tool] = {}
        self.called_as: dict[str, CalledAs] = {}

    def read(self, raw: Mapping[str, Any], place: str, namespace: str | None) -> None:
        kind = raw.get("type")
        if kind == "function":
            self._function(_converted(raw, FunctionTool, place), place, namespace)
            self._note(raw, FunctionTool)
        elif kind == "custom":
            self._custom(_converted(raw, CustomTool, place), place, namespace)
            self._note(raw, CustomTool)
        elif kind == "namespace" and namespace is None:
            group = _converted(raw, NamespaceTool, place)
            for index, inner in enumerate(group.tools):
                self.read(inner, f"{place}.tools[{index}]", group.name)
        elif isinstance(kind, str):
            self._ignored.add_made_up("tools", kind)
        else:
            raise InvalidField(f"The field `{place}.type` is required.", param=f"{place}.type")

    def _function(self, wire: FunctionTool, place: str, namespace: str | None) -> None:
        tool = Tool(
            name=flat_name(wire.name, namespace),
            description=wire.description,
            parameters=wire.parameters or {},
            strict=wire.strict,
        )
        self._add(tool, CalledAs(wire.name, namespace), place)

    def _custom(self, wire: CustomTool, place: str, namespace: str | None) -> None:
        description = wire.description or ""
        if wire.format is not None and wire.format.type == "grammar":
            self._ignored.add("tools.format")
            description += f"\n\nThe input follows this {wire.format.syntax} grammar:\n{wire.format.definition}"
        tool = Tool(name=flat_name(wire.name, namespace), description=description.strip() or None, parameters=_INPUT)
        self._add(tool, CalledAs(wire.name, namespace, custom=True), place)

    def _add(self, tool: Tool, called: CalledAs, place: str) -> None:
        if tool.name in self.tools:
            raise InvalidField(f"`{place}`: a second tool with the name {tool.name!r}.", param=place)
        self.tools[tool.name] = tool
        if called.custom or called.namespace is not None:
            self.called_as[tool.name] = called

    def _note(self, raw: Mapping[str, Any], kind: type[msgspec.Struct]) -> None:
        self._ignored.add(*(f"tools.{name}" for name in _HINTS if raw.get(name)))
        self._ignored.add_unknown("tools", raw, ("type", *kind.__struct_fields__, *_HINTS))


def _converted(raw: Mapping[str, Any], kind: type[T], place: str) -> T:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as exc:
        raise field_error(str(exc), place) from exc


def read_choice(choice: str | Mapping[str, Any] | None, tools: tuple[Tool, ...]) -> tuple[str | None, tuple[Tool, ...]]:
    """`tool_choice` in neutral words, and the tools that may be called.

    Raises InvalidField for a choice without its tool, UnsupportedParameter for tools of the vendor's service.
    """
    if choice is None or choice in ("auto", "none"):
        return choice if isinstance(choice, str) else None, tools
    if isinstance(choice, str):
        if choice != "required":
            raise InvalidField("`tool_choice` is auto, none, required or an object.", param="tool_choice")
        _check_some(tools)
        return "required", tools
    kind = choice.get("type")
    if kind in ("function", "custom"):
        return f"function:{_named(choice, tools)}", tools
    if kind == "allowed_tools":
        listed = choice.get("tools")
        wanted = [_named(one, tools) for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
        allowed = tuple(tool for tool in tools if tool.name in wanted)
        _check_some(allowed)
        return "required" if choice.get("mode") == "required" else "auto", allowed
    raise UnsupportedParameter(
        f"`tool_choice.type`: {str(kind)[:100]!r} is a tool that this server does not have.", param="tool_choice.type"
    )


def _check_some(tools: tuple[Tool, ...]) -> None:
    if not tools:
        raise InvalidField("`tool_choice` needs `tools`.", param="tool_choice")


def _named(choice: Mapping[str, Any], tools: tuple[Tool, ...]) -> str:
    name = flat_name(str(choice.get("name")), choice.get("namespace"))
    if all(tool.name != name for tool in tools):
        raise InvalidField(f"`tool_choice` names {name!r}, which is not among `tools`.", param="tool_choice")
    return name
