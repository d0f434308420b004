"""A streamed answer in Anthropic's words: neutral events to blocks, of which one at a time is open."""

from enum import Enum, auto
from typing import Any

import msgspec

from cortex.dialects.answer import interrupted
from cortex.dialects.anthropic.encode import stop_fields, usage_object
from cortex.dialects.anthropic.errors import error_event
from cortex.dialects.anthropic.signature import sign
from cortex.dialects.neutral import ChatEvent, Ended, Failed, ReasoningDelta, TextDelta, ToolCallDelta
from cortex.errors import CortexError, UpstreamMalformed
from cortex.types import FinishReason, Usage

__all__ = ["PING", "StreamEncoder"]

PING = b'event: ping\ndata: {"type":"ping"}\n\n'

_json = msgspec.json.encode
_CLOSE = b"}}\n\n"


class _Block(Enum):
    NONE = auto()
    THINKING = auto()
    TEXT = auto()
    TOOL = auto()


def _event(kind: str, fields: dict[str, Any]) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + _json({"type": kind, **fields}) + b"\n\n"


class StreamEncoder:
    """One streamed answer. After `Ended` or `Failed` the stream is over and further events give nothing.

    `input_tokens` is the whole prompt and `cached_tokens` the part of it that a prefix hit saved, as far as known when
    the stream starts. Input may never fall during a stream: a saving that only the end reveals is not told.
    `model` is the name the client asked for: the thinking's signature is bound to it. `request_id` stands in errors.
    """

    def __init__(
        self,
        *,
        id: str,
        model: str,
        input_tokens: int,
        cached_tokens: int = 0,
        signing_key: bytes = b"",
        request_id: str | None = None,
    ) -> None:
        self._id = id
        self._model = model
        self._key = signing_key
        self._request_id = request_id
        self._prompt = input_tokens
        self._cached = cached_tokens
        self._output = 0
        self._started = False
        self._over = False
        self._open = _Block.NONE
        self._index = -1
        self._prefix = b""
        self._thought: list[str] = []
        self._tool = -1
        self._filled = False
        self._closed_tools: set[int] = set()

    def start(self) -> bytes:
        """`message_start`; once, and before everything but pings. `event` sends it where the caller did not."""
        if self._started:
            return b""
        self._started = True
        message: dict[str, Any] = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_object(prompt=self._prompt, cached=self._cached, output=0),
        }
        return _event("message_start", {"message": message})

    def keep_alive(self) -> bytes:
        """A ping that keeps proxies from cutting a silent stream."""
        return PING

    def event(self, event: ChatEvent) -> bytes:
        """The bytes of one event; empty when there is nothing to say."""
        if self._over:
            return b""
        if not self._started:
            return self.start() + self.event(event)
        if isinstance(event, TextDelta):
            return self._said(_Block.TEXT, event.text, event.tokens)
        if isinstance(event, ReasoningDelta):
            return self._said(_Block.THINKING, event.text, event.tokens)
        if isinstance(event, ToolCallDelta):
            return self._called(event)
        if isinstance(event, Failed):
            return self._fail(event.error)
        if event.reason is FinishReason.CANCELLED:
            return self._fail(interrupted())
        return self._end(event)

    def _said(self, kind: _Block, text: str, tokens: int) -> bytes:
        if not text:
            return b""
        self._output += tokens or 1
        head = b"" if self._open is kind else self._close() + self._start_text(kind)
        if kind is _Block.THINKING:
            self._thought.append(text)
        return head + self._prefix + _json(text) + _CLOSE

    def _start_text(self, kind: _Block) -> bytes:
        if kind is _Block.TEXT:
            return self._start_block(kind, {"type": "text", "text": ""}, b'"text_delta","text":')
        block = {"type": "thinking", "thinking": "", "signature": ""}
        return self._start_block(kind, block, b'"thinking_delta","thinking":')

    def _start_block(self, kind: _Block, block: dict[str, Any], delta: bytes) -> bytes:
        self._open = kind
        self._index += 1
        index = str(self._index).encode()
        self._prefix = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":'
            + index
            + b',"delta":{"type":'
            + delta
        )
        return _event("content_block_start", {"index": self._index, "content_block": block})

    def _called(self, event: ToolCallDelta) -> bytes:
        self._output += event.tokens or 1
        head = b""
        if event.index != self._tool or self._open is not _Block.TOOL:
            if event.index in self._closed_tools or event.index == self._tool:
                return self._late(event)
            head = self._close()
            self._tool, self._filled = event.index, False
            call_id = event.id or f"toolu_{event.index}"
            block: dict[str, Any] = {"type": "tool_use", "id": call_id, "name": event.name, "input": {}}
            head += self._start_block(_Block.TOOL, block, b'"input_json_delta","partial_json":')
        if not event.arguments:
            return head
        self._filled = True
        return head + self._prefix + _json(event.arguments) + _CLOSE

    def _late(self, event: ToolCallDelta) -> bytes:
        """A piece for a call whose block is closed; only the empty object that was already sent for it may come."""
        if event.arguments.strip() in ("", "{}"):
            return b""
        return self._fail(UpstreamMalformed("The host mixed the pieces of two tool calls."))

    def _close(self, *, cut: bool = False) -> bytes:
        """Close the open block; a call without arguments gets its empty object, unless the token limit cut it."""
        kind, self._open = self._open, _Block.NONE
        if kind is _Block.NONE:
            return b""
        last = b""
        if kind is _Block.THINKING:
            signature = sign("".join(self._thought), self._model, self._key)
            self._thought.clear()
            delta = {"type": "signature_delta", "signature": signature}
            last = _event("content_block_delta", {"index": self._index, "delta": delta})
        elif kind is _Block.TOOL:
            self._closed_tools.add(self._tool)
            if not self._filled and not cut:
                last = self._prefix + b'"{}"' + _CLOSE
        return last + _event("content_block_stop", {"index": self._index})

    def _fail(self, error: CortexError) -> bytes:
        self._over = True
        return error_event(error, self._request_id)

    def _end(self, ended: Ended) -> bytes:
        self._over = True
        closing = self._close(cut=ended.reason is FinishReason.LENGTH)
        stop = stop_fields(ended, called=bool(self._closed_tools))
        delta = _event("message_delta", {"delta": stop, "usage": self._final_usage(ended.usage)})
        return closing + delta + _event("message_stop", {})

    def _final_usage(self, usage: Usage | None) -> dict[str, int]:
        if usage is None:
            return usage_object(prompt=self._prompt, cached=self._cached, output=self._output)
        prompt, cached = usage.prompt_tokens, usage.cached_tokens
        if prompt - cached < self._prompt - self._cached:
            prompt, cached = self._prompt, self._cached
        return usage_object(prompt=prompt, cached=cached, output=usage.completion_tokens)
