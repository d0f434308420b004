"""What a host answers to a raw completion: its chunks as neutral events, each with the index of its choice."""

import msgspec

from cortex.dialects.body import parse_body
from cortex.dialects.neutral import ChatEvent, Ended, Failed, TextDelta
from cortex.dialects.openai_chat.upstream import WireUsage
from cortex.dialects.openai_upstream import WireError, error_of
from cortex.dialects.sse import SseParser
from cortex.errors import CortexError, RequestError, UpstreamLost, UpstreamMalformed
from cortex.types import FinishReason, Usage

__all__ = ["StreamDecoder"]


class _Choice(msgspec.Struct, frozen=True):
    index: int = 0
    text: str | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None


class _Payload(msgspec.Struct, frozen=True):
    choices: list[_Choice] | None = None
    usage: WireUsage | None = None
    error: WireError | str | None = None


_DECODER = msgspec.json.Decoder(_Payload)


class StreamDecoder:
    """One host's stream. Texts carry the index of their choice; one `Ended` (index 0) stands for the whole stream,
    with the last choice's reason and the usage of all."""

    def __init__(self) -> None:
        self._parser = SseParser()
        self._ended: Ended | None = None
        self._usage: Usage | None = None
        self._over = False

    def feed(self, chunk: bytes) -> list[tuple[int, ChatEvent]]:
        """The events this chunk completes; after `Ended` or `Failed` there are none."""
        events: list[tuple[int, ChatEvent]] = []
        if self._over:
            return events
        try:
            for message in self._parser.feed(chunk):
                if message.data == b"[DONE]":
                    return [*events, *self.close()]
                self._payload(parse_body(_DECODER, message.data), events)
        except RequestError as exc:
            error = UpstreamMalformed("The host sent a chunk that is no completion.")
            error.add_note(exc.message)
            events.append(self._fail(error))
        except CortexError as exc:
            events.append(self._fail(exc))
        return events

    def close(self) -> list[tuple[int, ChatEvent]]:
        """The host closed the connection: `Ended` if the answer was whole, `Failed(UpstreamLost)` if it was cut."""
        if self._over:
            return []
        if self._ended is None:
            return [self._fail(UpstreamLost("The host went away in the middle of the answer."))]
        self._over = True
        return [(0, msgspec.structs.replace(self._ended, usage=self._usage))]

    def _fail(self, error: CortexError) -> tuple[int, ChatEvent]:
        self._over = True
        return 0, Failed(error)

    def _payload(self, payload: _Payload, events: list[tuple[int, ChatEvent]]) -> None:
        if payload.error is not None:
            raise error_of(payload.error)
        if payload.usage is not None:
            self._usage = payload.usage.neutral()
        for choice in payload.choices or ():
            if choice.text:
                events.append((choice.index, TextDelta(choice.text)))
            if choice.finish_reason is not None:
                self._ended = _ended(choice)


def _ended(choice: _Choice) -> Ended:
    if choice.finish_reason == "length":
        return Ended(FinishReason.LENGTH)
    if isinstance(choice.stop_reason, str):
        return Ended(FinishReason.STOP_SEQUENCE, stop_sequence=choice.stop_reason)
    return Ended(FinishReason.STOP)
