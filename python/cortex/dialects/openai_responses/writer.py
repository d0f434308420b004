"""The open item of a streamed Responses answer: thinking, text or a call, each from its first event to its last."""

from abc import ABC, abstractmethod
from typing import Any

import msgspec

from cortex.dialects.logprobs import TokenLogprob
from cortex.dialects.openai_responses.response import Items

__all__ = ["CallItem", "OpenItem", "TextItem", "ThinkingItem", "Writer"]

_json = msgspec.json.encode
_NO_LOGPROBS = b',"logprobs":[]}\n\n'


class Writer:
    """Writes events and numbers them."""

    def __init__(self) -> None:
        self.number = 0

    def event(self, kind: str, fields: dict[str, Any]) -> bytes:
        """One event; its type stands in the event line and in the payload."""
        data = _json({"type": kind, **fields, "sequence_number": self.number})
        self.number += 1
        return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


class OpenItem(ABC):
    """An item of the output while it comes. `item` is there once it is closed; None if it never was announced."""

    def __init__(self, writer: Writer, items: Items, index: int) -> None:
        self._writer = writer
        self._items = items
        self._index = index
        self._pieces: list[str] = []
        self._prefix = b""
        self._suffix = b""
        self.item: dict[str, Any] | None = None

    @abstractmethod
    def begin(self) -> bytes:
        """The events that announce it."""

    def delta(self, text: str) -> bytes:
        """One piece: all that is done for each token."""
        self._pieces.append(text)
        number = str(self._writer.number).encode()
        self._writer.number += 1
        return self._prefix + _json(text) + b',"sequence_number":' + number + self._suffix

    @abstractmethod
    def close(self, *, cut: bool) -> bytes:
        """The events that end it; `cut` = by the token limit."""

    def _text(self) -> str:
        return "".join(self._pieces)

    def _added(self, item: dict[str, Any]) -> bytes:
        return self._writer.event("response.output_item.added", {"output_index": self._index, "item": item})

    def _done(self, item: dict[str, Any]) -> bytes:
        self.item = item
        return self._writer.event("response.output_item.done", {"output_index": self._index, "item": item})

    def _deltas(self, kind: str, place: dict[str, Any], suffix: bytes = b"}\n\n") -> None:
        head = _json({"type": kind, **place})
        self._prefix = b"event: " + kind.encode() + b"\ndata: " + head[:-1] + b',"delta":'
        self._suffix = suffix


class TextItem(OpenItem):
    """A message with one text part. Log probabilities of tokens whose text has not come yet wait for it."""

    def __init__(self, writer: Writer, items: Items, index: int) -> None:
        super().__init__(writer, items, index)
        self._logprobs: list[TokenLogprob] = []
        self._told = 0

    def begin(self) -> bytes:
        """The message and its part."""
        item = self._items.message(self._index, None)
        self._place = {"item_id": item["id"], "output_index": self._index, "content_index": 0}
        self._deltas("response.output_text.delta", self._place, _NO_LOGPROBS)
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        return self._added(item) + self._writer.event("response.content_part.added", {**self._place, "part": part})

    def likely(self, logprobs: tuple[TokenLogprob, ...]) -> None:
        """Entries for the next piece."""
        self._logprobs += logprobs

    def delta(self, text: str) -> bytes:
        """A piece, with the entries that came since the last one."""
        if self._told == len(self._logprobs):
            return super().delta(text)
        fresh, self._told = self._logprobs[self._told :], len(self._logprobs)
        self._suffix = b',"logprobs":' + _json(fresh) + b"}\n\n"
        data = super().delta(text)
        self._suffix = _NO_LOGPROBS
        return data

    def close(self, *, cut: bool) -> bytes:
        """The whole text, the part, the message."""
        item = self._items.message(self._index, self._text(), logprobs=tuple(self._logprobs), cut=cut)
        part = item["content"][0]
        whole = {**self._place, "text": part["text"], "logprobs": part["logprobs"]}
        text = self._writer.event("response.output_text.done", whole)
        return text + self._writer.event("response.content_part.done", {**self._place, "part": part}) + self._done(item)


class ThinkingItem(OpenItem):
    """A reasoning item, with its thinking as a summary part or as reasoning text."""

    def __init__(self, writer: Writer, items: Items, index: int, *, summary: bool) -> None:
        super().__init__(writer, items, index)
        self._part = "reasoning_summary_part" if summary else "content_part"
        self._words = "reasoning_summary_text" if summary else "reasoning_text"
        self._list = "summary" if summary else "content"
        self._counter = "summary_index" if summary else "content_index"
        self._type = "summary_text" if summary else "reasoning_text"

    def begin(self) -> bytes:
        """The item and its part."""
        item = self._items.reasoning(self._index, None)
        self._place = {"item_id": item["id"], "output_index": self._index, self._counter: 0}
        self._deltas(f"response.{self._words}.delta", self._place)
        part = {"type": self._type, "text": ""}
        return self._added(item) + self._writer.event(f"response.{self._part}.added", {**self._place, "part": part})

    def close(self, *, cut: bool) -> bytes:
        """The whole thinking, the part, the item."""
        item = self._items.reasoning(self._index, self._text())
        part = item[self._list][0]
        text = self._writer.event(f"response.{self._words}.done", {**self._place, "text": part["text"]})
        return (
            text + self._writer.event(f"response.{self._part}.done", {**self._place, "part": part}) + self._done(item)
        )


class CallItem(OpenItem):
    """A call. It is announced with its first arguments, or at its end: one that the token limit cut before is none.

    The input of a custom tool stands inside the arguments, so it goes out when these are whole.
    """

    def __init__(self, writer: Writer, items: Items, index: int, *, call_id: str, name: str) -> None:
        super().__init__(writer, items, index)
        self._call_id = call_id
        self._name = name
        self._announced = False
        first = items.call(index, call_id, name, None)
        self._custom = first["type"] == "custom_tool_call"

    def begin(self) -> bytes:
        """Nothing yet."""
        return b""

    def delta(self, text: str) -> bytes:
        """A piece of the arguments."""
        if self._custom:
            self._pieces.append(text)
            return b""
        head = b"" if self._announced else self._announce("response.function_call_arguments.delta")
        return head + super().delta(text)

    def close(self, *, cut: bool) -> bytes:
        """The whole arguments, the item; a call without arguments gets its empty object."""
        arguments = self._text()
        if not arguments and cut:
            return b""
        if self._custom:
            return self._close_custom(arguments)
        head = b"" if arguments else self.delta("{}")
        item = self._items.call(self._index, self._call_id, self._name, self._text())
        fields = {**self._place, "arguments": item["arguments"], "name": item["name"]}
        return head + self._writer.event("response.function_call_arguments.done", fields) + self._done(item)

    def _announce(self, deltas: str) -> bytes:
        self._announced = True
        item = self._items.call(self._index, self._call_id, self._name, None)
        self._place = {"item_id": item["id"], "output_index": self._index}
        self._deltas(deltas, self._place)
        return self._added(item)

    def _close_custom(self, arguments: str) -> bytes:
        item = self._items.call(self._index, self._call_id, self._name, arguments or "{}")
        head = self._announce("response.custom_tool_call_input.delta")
        if item["input"]:
            head += super().delta(item["input"])
        done = self._writer.event("response.custom_tool_call_input.done", {**self._place, "input": item["input"]})
        return head + done + self._done(item)
