"""A whole answer, folded from the events of one generation; what non-streamed replies are made from."""

from collections.abc import Iterable

import msgspec

from cortex.dialects.logprobs import TokenLogprob
from cortex.dialects.neutral import ChatEvent, Ended, Failed, ReasoningDelta, TextDelta, ToolCall, ToolCallDelta
from cortex.errors import EngineFailed, UpstreamLost
from cortex.types import FinishReason

__all__ = ["Answer", "collect", "events_of", "interrupted"]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The text, the thinking and the calls of one answer, and how it ended."""

    text: str
    reasoning: str
    tool_calls: tuple[ToolCall, ...]
    ended: Ended
    logprobs: tuple[TokenLogprob, ...] = ()


class _Call:
    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []

    def add(self, delta: ToolCallDelta) -> None:
        self.id = self.id or delta.id or ""
        self.name = self.name or delta.name or ""
        self.arguments.append(delta.arguments)


def collect(events: Iterable[ChatEvent]) -> Answer:
    """Fold the events. Raises the error of a `Failed` event, UpstreamLost when there is no end, and EngineFailed
    for a cancelled generation, which is no answer."""
    text: list[str] = []
    reasoning: list[str] = []
    logprobs: list[TokenLogprob] = []
    calls: dict[int, _Call] = {}
    for event in events:
        if isinstance(event, TextDelta):
            text.append(event.text)
            logprobs.extend(event.logprobs)
        elif isinstance(event, ReasoningDelta):
            reasoning.append(event.text)
        elif isinstance(event, ToolCallDelta):
            calls.setdefault(event.index, _Call()).add(event)
        elif isinstance(event, Failed):
            raise event.error
        elif event.reason is FinishReason.CANCELLED:
            raise interrupted()
        else:
            made = tuple(
                ToolCall(id=call.id, name=call.name, arguments="".join(call.arguments) or "{}")
                for _, call in sorted(calls.items())
            )
            return Answer(
                text="".join(text),
                reasoning="".join(reasoning),
                tool_calls=made,
                ended=event,
                logprobs=tuple(logprobs),
            )
    raise UpstreamLost("The answer broke off before its end.")


def events_of(answer: Answer) -> list[ChatEvent]:
    """The fewest events that make this answer."""
    events: list[ChatEvent] = []
    if answer.reasoning:
        events.append(ReasoningDelta(answer.reasoning))
    if answer.text or answer.logprobs:
        events.append(TextDelta(answer.text, logprobs=answer.logprobs))
    events.extend(
        ToolCallDelta(index, call.id, call.name, call.arguments) for index, call in enumerate(answer.tool_calls)
    )
    events.append(answer.ended)
    return events


def interrupted() -> EngineFailed:
    """What a client hears of a generation that was cancelled under it (a drain that ran out of time)."""
    return EngineFailed("The generation was cancelled before its end; send the request again.")
