"""A raw completion's answer: neutral events of each choice to bytes, whole or streamed."""

from collections.abc import Sequence
from typing import Any

import msgspec

from cortex.dialects.answer import collect, interrupted
from cortex.dialects.neutral import ChatEvent, Ended, Failed, TextDelta
from cortex.dialects.openai_completions.logprobs import LogprobsWriter
from cortex.dialects.openai_envelope import add_usage, error_event, usage_object
from cortex.dialects.sse import KEEP_ALIVE
from cortex.types import FinishReason, Usage

__all__ = ["StreamEncoder", "encode_response"]

_json = msgspec.json.encode
_DONE = b"data: [DONE]\n\n"


def _ending(ended: Ended) -> dict[str, Any]:
    reason = "length" if ended.reason is FinishReason.LENGTH else "stop"
    fields: dict[str, Any] = {"finish_reason": reason}
    if ended.stop_sequence is not None:
        fields["stop_reason"] = ended.stop_sequence
    return fields


def encode_response(choices: Sequence[Sequence[ChatEvent]], *, id: str, model: str, created: int) -> bytes:
    """The answer without streaming; `choices` holds the events of each choice. Raises the first failure among them."""
    usage: Usage | None = None
    wire = []
    for index, events in enumerate(choices):
        answer = collect(events)
        usage = add_usage(usage, answer.ended.usage)
        logprobs = LogprobsWriter().write(answer.text, answer.logprobs)
        wire.append({"index": index, "text": answer.text, "logprobs": logprobs, **_ending(answer.ended)})
    body: dict[str, Any] = {
        "id": id,
        "object": "text_completion",
        "created": created,
        "model": model,
        "choices": wire,
    }
    if usage is not None:
        body["usage"] = usage_object(usage)
    return _json(body)


class StreamEncoder:
    """One streamed answer of `choices` choices, over when each has its end or one has failed."""

    def __init__(self, *, id: str, model: str, created: int, choices: int = 1, include_usage: bool = False) -> None:
        head = _json({"id": id, "object": "text_completion", "created": created, "model": model})
        self._head = b"data: " + head[:-1] + b',"choices":['
        self._tail = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._include_usage = include_usage
        self._usage: Usage | None = None
        self._left = {index: LogprobsWriter() for index in range(choices)}

    def start(self) -> bytes:
        """Nothing: this dialect's streams begin with the first text."""
        return b""

    def keep_alive(self) -> bytes:
        """A comment that keeps proxies from cutting a silent stream."""
        return KEEP_ALIVE

    def event(self, event: ChatEvent, index: int = 0) -> bytes:
        """The bytes of one event of one choice; empty when there is nothing to say (no reasoning, no tools here)."""
        if index not in self._left:
            return b""
        if isinstance(event, TextDelta):
            return self._text(event, index) if event.text or event.logprobs else b""
        if isinstance(event, Failed):
            self._left.clear()
            return error_event(event.error)
        if not isinstance(event, Ended):
            return b""
        if event.reason is FinishReason.CANCELLED:
            self._left.clear()
            return error_event(interrupted())
        return self._end(event, index)

    def _text(self, event: TextDelta, index: int) -> bytes:
        start = self._head + b'{"index":' + str(index).encode() + b',"text":' + _json(event.text)
        logprobs = self._left[index].write(event.text, event.logprobs)
        return start + b',"logprobs":' + _json(logprobs) + b',"finish_reason":null}]' + self._tail

    def _end(self, ended: Ended, index: int) -> bytes:
        del self._left[index]
        self._usage = add_usage(self._usage, ended.usage)
        last = self._head + _json({"index": index, "text": "", "logprobs": None, **_ending(ended)}) + b"]" + self._tail
        if self._left:
            return last
        if self._include_usage and self._usage is not None:
            last += self._head + b'],"usage":' + _json(usage_object(self._usage)) + b"}\n\n"
        return last + _DONE
