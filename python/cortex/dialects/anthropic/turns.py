"""The turns of a Messages request as neutral messages: blocks split, thinking checked, system text in its place."""

import re
from collections.abc import Iterable, Sequence

import msgspec

from cortex.dialects.anthropic.schema import (
    Base64Source,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    WireTurn,
)
from cortex.dialects.anthropic.signature import verify
from cortex.dialects.content import Content, folded, joined
from cortex.dialects.image import Image
from cortex.dialects.neutral import Message, ToolCall
from cortex.errors import InvalidField

__all__ = ["TurnReader", "system_text"]

# A counter that Claude Code rewrites with each request; left in, no two prompts would share a prefix.
_COUNTER = re.compile(r"<total_tokens>[^<]*</total_tokens>\n?")
_MARKS = ("cache_control", "citations", "caller")


def system_text(content: str | Iterable[TextBlock]) -> str:
    """System text without billing blocks (they differ from request to request) and without the token counter."""
    texts = [content] if isinstance(content, str) else [block.text for block in content]
    kept = (_COUNTER.sub("", text) for text in texts if not text.startswith("x-anthropic-"))
    return "\n\n".join(text for text in kept if text)


class TurnReader:
    """Reads the turns in order.

    1. A system turn before the first assistant turn stands in a fixed place: its text joins the leading system text.
    2. A later one would change the head of the prompt (and lose every cached prefix): it becomes a tagged user turn.
    3. Tool results become tool messages before the rest of their turn.
    4. Neighbouring user turns are one: templates want the roles to alternate.
    """

    def __init__(self, *, model: str, signing_key: bytes, ignored: set[str]) -> None:
        self._model = model
        self._key = signing_key
        self._ignored = ignored
        self._hoisted: list[str] = []
        self._messages: list[Message] = []

    def read(self, turns: Sequence[WireTurn], system: str) -> tuple[Message, ...]:
        """All messages, the system text first."""
        answered = False
        for index, turn in enumerate(turns):
            if turn.role == "assistant":
                answered = True
                self._messages.append(self._assistant(turn, index))
            elif turn.role == "user":
                self._user(turn, index)
            elif not answered:  # 1.
                self._hoisted.append(self._system(turn, index))
            else:  # 2.
                self._add_user(f"<system-reminder>\n{self._system(turn, index)}\n</system-reminder>")
        head = "\n\n".join(text for text in (system, *self._hoisted) if text)
        leading = (Message(role="system", content=head),) if head else ()
        return (*leading, *self._messages)

    def _system(self, turn: WireTurn, index: int) -> str:
        if isinstance(turn.content, str):
            return system_text(turn.content)
        texts = []
        for place, block in enumerate(turn.content):
            if not isinstance(block, TextBlock):
                raise _misplaced(block, index, place, turn.role)
            self._note(block)
            texts.append(block)
        return system_text(texts)

    def _assistant(self, turn: WireTurn, index: int) -> Message:
        if isinstance(turn.content, str):
            return Message(role="assistant", content=turn.content)
        texts: list[str] = []
        thoughts: list[str] = []
        calls: list[ToolCall] = []
        for place, block in enumerate(turn.content):
            self._note(block)
            if isinstance(block, TextBlock):
                texts.append(block.text)
            elif isinstance(block, ThinkingBlock):
                if verify(block.signature, block.thinking, self._model, self._key):
                    thoughts.append(block.thinking)
            elif isinstance(block, ToolUseBlock):
                arguments = msgspec.json.encode(block.input).decode()
                calls.append(ToolCall(id=block.id, name=block.name, arguments=arguments))
            elif isinstance(block, ImageBlock | ToolResultBlock):
                raise _misplaced(block, index, place, turn.role)
        reasoning = "\n".join(thoughts) or None
        return Message(role="assistant", content="\n".join(texts), reasoning=reasoning, tool_calls=tuple(calls))

    def _user(self, turn: WireTurn, index: int) -> None:
        if isinstance(turn.content, str):
            self._add_user(turn.content)
            return
        rest: list[TextBlock | ImageBlock] = []
        for place, block in enumerate(turn.content):
            self._note(block)
            if isinstance(block, ToolResultBlock):  # 3.
                self._messages.append(self._result(block))
            elif isinstance(block, TextBlock | ImageBlock):
                rest.append(block)
            else:
                raise _misplaced(block, index, place, turn.role)
        if rest:
            self._add_user(_content(rest))

    def _result(self, block: ToolResultBlock) -> Message:
        if block.content is None or isinstance(block.content, str):
            content: Content = block.content or ""
        else:
            for part in block.content:
                self._note(part)
            content = _content(block.content)
        return Message(role="tool", content=content, tool_call_id=block.tool_use_id, is_error=bool(block.is_error))

    def _add_user(self, content: Content) -> None:
        last = self._messages[-1] if self._messages else None
        if last is not None and last.role == "user":  # 4.
            self._messages[-1] = Message(role="user", content=joined(last.content, content))
        else:
            self._messages.append(Message(role="user", content=content))

    def _note(self, block: msgspec.Struct) -> None:
        for name in _MARKS:
            if getattr(block, name, None) is not None:
                self._ignored.add(name)


def _misplaced(block: msgspec.Struct, index: int, place: int, role: str) -> InvalidField:
    kind = block.__struct_config__.tag
    return InvalidField(f"A {role} turn cannot hold a {kind} block.", param=f"messages[{index}].content[{place}]")


def _content(blocks: Iterable[TextBlock | ImageBlock]) -> Content:
    return folded(block.text if isinstance(block, TextBlock) else _image(block) for block in blocks)


def _image(block: ImageBlock) -> Image:
    source = block.source
    if isinstance(source, Base64Source):
        return Image(url=f"data:{source.media_type};base64,{source.data}")
    return Image(url=source.url)
