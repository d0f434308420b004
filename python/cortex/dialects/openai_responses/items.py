"""The items of a Responses request as neutral messages: what one assistant turn said and called becomes one message."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from cortex.dialects.body import field_error
from cortex.dialects.content import Content, folded, joined
from cortex.dialects.image import Image
from cortex.dialects.neutral import Message, ToolCall
from cortex.dialects.openai_responses.ignored import Ignored
from cortex.dialects.openai_responses.schema import CallItem, CallOutputItem, MessageItem, ReasoningItem
from cortex.dialects.openai_responses.seal import unseal
from cortex.dialects.openai_responses.tools import custom_arguments, flat_name
from cortex.errors import ChainingUnsupported, InvalidField, UnsupportedParameter

__all__ = ["ItemReader"]

T = TypeVar("T", bound=msgspec.Struct)
# What servers write on the items they give, which says nothing to the model.
_BOOKKEEPING = ("async", "caller", "id", "phase", "status", "summary", "type")
_TEXT_PARTS = ("input_text", "output_text", "text", "summary_text")


class ItemReader:
    """Reads the items in order.

    1. System and developer messages before the first answer stand in a fixed place: they join the leading system text.
    2. Later ones would change the head of the prompt (and lose every cached prefix): they become tagged user turns.
    3. Reasoning, text and calls up to the next turn of somebody else are one assistant message.
    4. Neighbouring user turns are one: templates want the roles to alternate.
    5. Kinds that are not known are left out and named.
    """

    def __init__(self, *, model: str, signing_key: bytes, ignored: Ignored) -> None:
        self._model = model
        self._key = signing_key
        self._ignored = ignored
        self._system: list[str] = []
        self._messages: list[Message] = []
        self._answered = False
        self._thoughts: list[str] = []
        self._texts: list[Content] = []
        self._calls: list[ToolCall] = []

    def read(self, items: Iterable[Mapping[str, Any]], instructions: str | None) -> tuple[Message, ...]:
        """All messages, the system text first. Raises InvalidField, UnsupportedParameter."""
        for index, item in enumerate(items):
            self._item(item, f"input[{index}]")
        self._flush()
        head = "\n\n".join(text for text in (instructions, *self._system) if text)
        leading = (Message(role="system", content=head),) if head else ()
        return (*leading, *self._messages)

    def _item(self, raw: Mapping[str, Any], place: str) -> None:
        kind = raw.get("type", "message")
        if kind == "message":
            self._message(self._converted(raw, MessageItem, place), place)
        elif kind in ("function_call", "custom_tool_call"):
            self._call(self._converted(raw, CallItem, place), custom=kind == "custom_tool_call")
        elif kind in ("function_call_output", "custom_tool_call_output"):
            output = self._converted(raw, CallOutputItem, place, "name", "namespace")
            self._flush()
            content = self._content(output.output, f"{place}.output")
            self._messages.append(Message(role="tool", content=content, tool_call_id=output.call_id))
        elif kind == "reasoning":
            self._reasoning(self._converted(raw, ReasoningItem, place))
        elif kind == "item_reference":
            raise ChainingUnsupported(
                f"`{place}`: references are not supported: no answers are kept here.", param=place
            )
        else:  # 5.
            self._ignored.add_made_up("input", kind)

    def _message(self, item: MessageItem, place: str) -> None:
        content = self._content(item.content, f"{place}.content")
        if item.role == "assistant":  # 3.
            self._answered = True
            self._texts.append(content)
            return
        self._flush()
        if item.role == "user":
            self._add_user(content)
            return
        if not isinstance(content, str):
            raise InvalidField(f"A {item.role} message is text.", param=f"{place}.content")
        if not self._answered:  # 1.
            self._system.append(content)
        else:  # 2.
            self._add_user(f"<system-reminder>\n{content}\n</system-reminder>")

    def _call(self, item: CallItem, *, custom: bool) -> None:
        self._answered = True
        arguments = custom_arguments(item.input) if custom else item.arguments or "{}"
        self._calls.append(ToolCall(id=item.call_id, name=flat_name(item.name, item.namespace), arguments=arguments))

    def _reasoning(self, item: ReasoningItem) -> None:
        """Plain thinking as it stands, else what is sealed, if we sealed it; a foreign seal is nobody's fault."""
        self._answered = True
        if item.content:
            self._thoughts.append("".join(part.text for part in item.content))
        elif item.encrypted_content is not None:
            thinking = unseal(item.encrypted_content, self._model, self._key)
            if thinking is not None:
                self._thoughts.append(thinking)

    def _flush(self) -> None:
        """The assistant's turn is over."""
        if self._thoughts or self._texts or self._calls:
            parts: list[str | Image] = []
            for content in self._texts:
                parts += (content,) if isinstance(content, str) else content
            message = Message(
                role="assistant",
                content=folded(parts),
                reasoning="\n".join(self._thoughts) or None,
                tool_calls=tuple(self._calls),
            )
            self._messages.append(message)
        self._thoughts, self._texts, self._calls = [], [], []

    def _add_user(self, content: Content) -> None:
        last = self._messages[-1] if self._messages else None
        if last is not None and last.role == "user":  # 4.
            self._messages[-1] = Message(role="user", content=joined(last.content, content))
        else:
            self._messages.append(Message(role="user", content=content))

    def _content(self, content: str | list[dict[str, Any]], place: str) -> Content:
        if isinstance(content, str):
            return content
        return folded(self._part(part, f"{place}[{index}]") for index, part in enumerate(content))

    def _part(self, part: Mapping[str, Any], place: str) -> str | Image:
        kind = part.get("type")
        if kind in _TEXT_PARTS:
            return _text(part, "text", place)
        if kind == "refusal":
            return _text(part, "refusal", place)
        if kind == "input_image" and part.get("image_url"):
            if part.get("detail") is not None:
                self._ignored.add("image_url.detail")
            return Image(url=_text(part, "image_url", place))
        shown = str(kind)[:100]
        raise UnsupportedParameter(f"`{place}.type`: {shown!r} is not supported here.", param=f"{place}.type")

    def _converted(self, raw: Mapping[str, Any], kind: type[T], place: str, *known: str) -> T:
        self._ignored.add_unknown("input", raw, (*_BOOKKEEPING, *kind.__struct_fields__, *known))
        try:
            return msgspec.convert(raw, kind)
        except msgspec.ValidationError as exc:
            raise field_error(str(exc), place) from exc


def _text(part: Mapping[str, Any], name: str, place: str) -> str:
    text = part.get(name)
    if not isinstance(text, str):
        raise InvalidField(f"`{place}.{name}` is a text.", param=f"{place}.{name}")
    return text
