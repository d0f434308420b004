"""A streamed chat answer: neutral events to chunks, one cheap concatenation a chunk."""

from typing import Any

import msgspec

from cortex.dialects.answer import interrupted
from cortex.dialects.neutral import ChatEvent, Ended, Failed, ReasoningDelta, TextDelta, ToolCallDelta
from cortex.dialects.openai_chat.encode import finish_reason
from cortex.dialects.openai_envelope import error_event, usage_object
from cortex.dialects.sse import KEEP_ALIVE
from cortex.types import FinishReason

__all__ = ["StreamEncoder"]

_json = msgspec.json.encode
_DONE = b"data: [DONE]\n\n"
_OPEN = b'"choices":[{"index":0,"delta":'


class StreamEncoder:
    """One streamed answer. After `Ended` or `Failed` the stream is over and further events give nothing."""

    def __init__(self, *, id: str, model: str, created: int, include_usage: bool = False) -> None:
        head = _json({"id": id, "object": "chat.completion.chunk", "created": created, "model": model})
        self._head = b"data: " + head[:-1] + b","
        # With include_usage every chunk but the last carries `usage: null`, as the contract has it.
        usage = b',"usage":null' if include_usage else b""
        self._text = self._head + _OPEN + b'{"content":'
        self._more = b',"logprobs":null,"finish_reason":null}]' + usage + b"}\n\n"
        self._usage = usage
        self._include_usage = include_usage
        self._started = False
        self._over = False
        self._calls: dict[int, bool] = {}  # index -> whether arguments were sent

    def start(self) -> bytes:
        """The role chunk; once, and before everything but keep-alives. `event` sends it where the caller did not."""
        if self._started:
            return b""
        self._started = True
        return self._delta({"role": "assistant", "content": ""})

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
            return self._text + _json(event.text) + b"}" + self._more if event.text else b""
        if isinstance(event, ReasoningDelta):
            return self._delta({"reasoning_content": event.text, "reasoning": event.text}) if event.text else b""
        if isinstance(event, ToolCallDelta):
            return self._tool(event)
        self._over = True
        if isinstance(event, Failed):
            return error_event(event.error)
        if event.reason is FinishReason.CANCELLED:
            return error_event(interrupted())
        return self._end(event)

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return self._head + _OPEN + _json(delta) + self._more

    def _tool(self, event: ToolCallDelta) -> bytes:
        if event.index not in self._calls:
            self._calls[event.index] = bool(event.arguments)
            call: dict[str, Any] = {
                "index": event.index,
                "id": event.id or f"call_{event.index}",
                "type": "function",
                "function": {"name": event.name, "arguments": event.arguments},
            }
        elif event.arguments:
            self._calls[event.index] = True
            call = {"index": event.index, "function": {"arguments": event.arguments}}
        else:
            return b""
        return self._delta({"tool_calls": [call]})

    def _end(self, ended: Ended) -> bytes:
        out = []
        if ended.reason is not FinishReason.LENGTH:  # a call that was cut short stays visibly unfinished
            out = [
                self._delta({"tool_calls": [{"index": index, "function": {"arguments": "{}"}}]})
                for index, filled in self._calls.items()
                if not filled
            ]
        choice: dict[str, Any] = {"index": 0, "delta": {}, "logprobs": None}
        choice["finish_reason"] = finish_reason(ended, called=bool(self._calls))
        if ended.stop_sequence is not None:
            choice["stop_reason"] = ended.stop_sequence
        out.append(self._head + b'"choices":' + _json([choice]) + self._usage + b"}\n\n")
        if self._include_usage and ended.usage is not None:
            out.append(self._head + b'"choices":[],"usage":' + _json(usage_object(ended.usage)) + b"}\n\n")
        out.append(_DONE)
        return b"".join(out)
