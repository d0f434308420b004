"""A streamed answer in the words of the Responses dialect: neutral events to items, of which one at a time is open."""

from typing import Any

from cortex.dialects.answer import interrupted
from cortex.dialects.logprobs import TokenLogprob
from cortex.dialects.neutral import ChatEvent, Ended, Failed, ReasoningDelta, TextDelta, ToolCallDelta
from cortex.dialects.openai_responses.request import ResponsesRequest
from cortex.dialects.openai_responses.response import Items, ended_fields, error_object, response_object
from cortex.dialects.openai_responses.writer import CallItem, OpenItem, TextItem, ThinkingItem, Writer
from cortex.dialects.sse import KEEP_ALIVE
from cortex.errors import CortexError, UpstreamMalformed
from cortex.types import FinishReason

__all__ = ["StreamEncoder"]


class StreamEncoder:
    """One streamed answer. After `Ended`, `Failed` or `fail` the stream is over and further events give nothing.

    `final` is the object of the last event, None until then.
    """

    def __init__(self, asked: ResponsesRequest, *, id: str, created: int, signing_key: bytes = b"") -> None:
        self._asked = asked
        self._id = id
        self._created = created
        self._items = Items(asked, id, signing_key)
        self._writer = Writer()
        self._started = False
        self._over = False
        self._open: OpenItem | None = None
        self._call = -1
        self._closed_calls: set[int] = set()
        self._output: list[dict[str, Any]] = []
        self._waiting: tuple[TokenLogprob, ...] = ()
        self.final: dict[str, Any] | None = None

    def start(self) -> bytes:
        """The first two events; once, and before everything but keep-alives. `event` sends them where the caller did
        not."""
        if self._started:
            return b""
        self._started = True
        begun = {"response": self._object()}
        return self._writer.event("response.created", begun) + self._writer.event("response.in_progress", begun)

    def keep_alive(self) -> bytes:
        """A comment that keeps proxies from cutting a silent stream."""
        return KEEP_ALIVE

    def event(self, event: ChatEvent) -> bytes:
        """The bytes of one event; empty when there is nothing to say."""
        if self._over:
            return b""
        if not self._started:
            return self.start() + self.event(event)
        if isinstance(event, TextDelta):
            return self._text(event)
        if isinstance(event, ReasoningDelta):
            return self._thinking(event.text)
        if isinstance(event, ToolCallDelta):
            return self._called(event)
        if isinstance(event, Failed):
            return self.fail(event.error)
        if event.reason is FinishReason.CANCELLED:
            return self.fail(interrupted())
        return self._end(event)

    def fail(self, error: CortexError) -> bytes:
        """The event that ends a stream which broke, at any point of it."""
        if self._over:
            return b""
        head = self.start()
        return head + self._last("failed", status="failed", error=error_object(error))

    def _object(self, **changing: Any) -> dict[str, Any]:
        return response_object(self._asked, id=self._id, created=self._created, **changing)

    def _text(self, event: TextDelta) -> bytes:
        """Entries without text wait; those before the first text have no item to stand in yet."""
        if event.logprobs:
            self._waiting += event.logprobs
        if not event.text:
            return b""
        head = b""
        if not isinstance(self._open, TextItem):
            head = self._close()
            head += self._begin(TextItem(self._writer, self._items, len(self._output)))
        if self._waiting and isinstance(self._open, TextItem):
            self._open.likely(self._waiting)
            self._waiting = ()
        return head + self._piece(event.text)

    def _thinking(self, text: str) -> bytes:
        if not text:
            return b""
        head = b""
        if not isinstance(self._open, ThinkingItem):
            head = self._close()
            index = len(self._output)
            head += self._begin(ThinkingItem(self._writer, self._items, index, summary=self._asked.summarise))
        return head + self._piece(text)

    def _begin(self, item: OpenItem) -> bytes:
        self._open = item
        return item.begin()

    def _piece(self, text: str) -> bytes:
        assert self._open is not None, "a piece belongs to an open item"
        return self._open.delta(text)

    def _called(self, event: ToolCallDelta) -> bytes:
        head = b""
        if event.index != self._call or not isinstance(self._open, CallItem):
            if event.index in self._closed_calls:
                return self._late(event)
            head = self._close()
            self._call = event.index
            call_id = event.id or f"call_{self._id.removeprefix('resp_')}_{event.index}"
            index = len(self._output)
            self._open = CallItem(self._writer, self._items, index, call_id=call_id, name=event.name or "")
        return head + self._piece(event.arguments) if event.arguments else head

    def _late(self, event: ToolCallDelta) -> bytes:
        """A piece for a call whose item is closed; only the empty object that was already sent for it may come."""
        if event.arguments.strip() in ("", "{}"):
            return b""
        return self.fail(UpstreamMalformed("The host mixed the pieces of two tool calls."))

    def _close(self, *, cut: bool = False) -> bytes:
        opened, self._open = self._open, None
        if isinstance(opened, TextItem):
            opened.likely(self._waiting)
            self._waiting = ()
        if opened is None:
            return b""
        if isinstance(opened, CallItem):
            self._closed_calls.add(self._call)
        data = opened.close(cut=cut)
        if opened.item is not None:
            self._output.append(opened.item)
        return data

    def _end(self, ended: Ended) -> bytes:
        cut = ended.reason is FinishReason.LENGTH
        closing = self._close(cut=cut)
        return closing + self._last("incomplete" if cut else "completed", **ended_fields(ended))

    def _last(self, kind: str, **changing: Any) -> bytes:
        self._over = True
        self.final = self._object(output=self._output, **changing)
        return self._writer.event(f"response.{kind}", {"response": self.final})
