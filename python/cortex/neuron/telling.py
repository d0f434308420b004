"""Telling: the pieces of an answer, as the engine gives them, as neutral events."""

import secrets
from collections.abc import Iterator

from cortex.dialects.logprobs import parse_logprobs
from cortex.dialects.neutral import ChatEvent, ReasoningDelta, TextDelta, ToolCallDelta
from cortex.neuron.engines import Event

__all__ = ["Told"]


class Told:
    """One answer's pieces in order. Tokens that showed nothing yet count with the next piece."""

    def __init__(self, call_prefix: str) -> None:
        self._prefix = call_prefix
        self._tokens = 0

    def parts(self, event: Event) -> Iterator[ChatEvent]:
        """What one step of the engine has to say."""
        self._tokens += event.tokens
        logprobs = parse_logprobs(event.logprobs)
        if event.text or logprobs:
            yield TextDelta(event.text, self._take(), logprobs)
        for kind, index, text in event.pieces:
            yield self._part(kind, index or 0, text)

    def _part(self, kind: str, index: int, text: str) -> ChatEvent:
        tokens = self._take()
        if kind == "text":
            return TextDelta(text, tokens)
        if kind == "reasoning":
            return ReasoningDelta(text, tokens)
        if kind == "call":
            return ToolCallDelta(index, f"{self._prefix}{secrets.token_hex(12)}", text, tokens=tokens)
        return ToolCallDelta(index, arguments=text, tokens=tokens)

    def _take(self) -> int:
        tokens, self._tokens = self._tokens, 0
        return tokens
