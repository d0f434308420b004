"""A streamed chat answer: neutral events to chunks, one cheap concatenation a chunk."""

from typing import Any

import msgspec

from cortex.dialects.answer import interrupted
from cortex.dialects.logprobs import content
from cortex.dialects.neutral import ChatEvent, Ended, Failed, ReasoningDelta, TextDelta, ToolCallDelta
from cortex.dialects.openai_chat.encode import finish_reason
from cortex.dialects.openai_envelope import add_usage, error_event, usage_object
from cortex.dialects.sse import KEEP_ALIVE
from cortex.types import FinishReason, Usage

__all__ = ["StreamEncoder"]

_json = msgspec.json.encode
_DONE = b"data: [DONE]\n\n"
_MORE = b',"logprobs":null,"finish_reason":null}]'


class _Choice:
    """What was said of one choice."""

    def __init__(self, index: int) -> None:
        self.open = b'"choices":[{"index":' + str(index).encode() + b',"delta":'
        self.index = index
        self.started = False
        self.calls: dict[int, bool] = {}  # index -> whether arguments were sent


class StreamEncoder:
    """One streamed answer of `choices` choices. It is over when each has its `Ended`, or one has failed; further events
    give nothing."""

    def __init__(self, *, id: str, model: str, created: int, choices: int = 1, include_usage: bool = False) -> None:
        head = _json({"id": id, "object": "chat.completion.chunk", "created": created, "model": model})
        self._head = b"data: " + head[:-1] + b","
        # With include_usage every chunk but the last carries `usage: null`, as the contract has it.
        self._tail = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._include_usage = include_usage
        self._usage: Usage | None = None
        self._left = {index: _Choice(index) for index in range(choices)}

    def start(self) -> bytes:
        """The role chunk of each choice; once, and before all but keep-alives. `event` sends it where nobody did."""
        return b"".join([self._start(choice) for choice in self._left.values()])

    def keep_alive(self) -> bytes:
        """A comment that keeps proxies from cutting a silent stream."""
        return KEEP_ALIVE

    def event(self, event: ChatEvent, index: int = 0) -> bytes:
        """The bytes of one event of one choice; empty when there is nothing to say."""
        choice = self._left.get(index)
        if choice is None:
            return b""
        if not choice.started:
            return self._start(choice) + self.event(event, index)
        if isinstance(event, TextDelta):
            return self._text(choice, event) if event.text or event.logprobs else b""
        if isinstance(event, ReasoningDelta):
            delta = {"reasoning_content": event.text, "reasoning": event.text}
            return self._delta(choice, delta) if event.text else b""
        if isinstance(event, ToolCallDelta):
            return self._tool(choice, event)
        if isinstance(event, Failed):
            self._left.clear()
            return error_event(event.error)
        if event.reason is FinishReason.CANCELLED:
            self._left.clear()
            return error_event(interrupted())
        return self._end(choice, event)

    def _start(self, choice: _Choice) -> bytes:
        if choice.started:
            return b""
        choice.started = True
        return self._delta(choice, {"role": "assistant", "content": ""})

    def _delta(self, choice: _Choice, delta: dict[str, Any]) -> bytes:
        return self._head + choice.open + _json(delta) + _MORE + self._tail

    def _text(self, choice: _Choice, event: TextDelta) -> bytes:
        start = self._head + choice.open + b'{"content":' + _json(event.text) + b"}"
        if not event.logprobs:
            return start + _MORE + self._tail
        return start + b',"logprobs":' + _json(content(event.logprobs)) + b',"finish_reason":null}]' + self._tail

    def _tool(self, choice: _Choice, event: ToolCallDelta) -> bytes:
        if event.index not in choice.calls:
            choice.calls[event.index] = bool(event.arguments)
            call: dict[str, Any] = {
                "index": event.index,
                "id": event.id or f"call_{event.index}",
                "type": "function",
                "function": {"name": event.name, "arguments": event.arguments},
            }
        elif event.arguments:
            choice.calls[event.index] = True
            call = {"index": event.index, "function": {"arguments": event.arguments}}
        else:
            return b""
        return self._delta(choice, {"tool_calls": [call]})

    def _end(self, choice: _Choice, ended: Ended) -> bytes:
        del self._left[choice.index]
        self._usage = add_usage(self._usage, ended.usage)
        out = []
        if ended.reason is not FinishReason.LENGTH:  # a call that was cut short stays visibly unfinished
            out = [
                self._delta(choice, {"tool_calls": [{"index": index, "function": {"arguments": "{}"}}]})
                for index, filled in choice.calls.items()
                if not filled
            ]
        last: dict[str, Any] = {"index": choice.index, "delta": {}, "logprobs": None}
        last["finish_reason"] = finish_reason(ended, called=bool(choice.calls))
        if ended.stop_sequence is not None:
            last["stop_reason"] = ended.stop_sequence
        out.append(self._head + b'"choices":' + _json([last]) + self._tail)
        if not self._left:
            if self._include_usage and self._usage is not None:
                out.append(self._head + b'"choices":[],"usage":' + _json(usage_object(self._usage)) + b"}\n\n")
            out.append(_DONE)
        return b"".join(out)
