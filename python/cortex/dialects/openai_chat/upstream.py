"""What a host answers to a chat completion: its chunks and its whole answers as neutral events."""

import msgspec

from cortex.dialects.answer import Answer, events_of
from cortex.dialects.body import parse_body
from cortex.dialects.logprobs import TokenLogprob
from cortex.dialects.neutral import ChatEvent, Ended, Failed, ReasoningDelta, TextDelta, ToolCall, ToolCallDelta
from cortex.dialects.openai_upstream import WireError, error_of
from cortex.dialects.sse import SseParser
from cortex.errors import CortexError, RequestError, UpstreamLost, UpstreamMalformed
from cortex.types import FinishReason, Usage

__all__ = ["StreamDecoder", "WireUsage", "decode_response"]

_FINISH = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
}


class _Function(msgspec.Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, frozen=True):
    index: int | None = None
    id: str | None = None
    function: _Function = _Function()


class _Said(msgspec.Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None


class _Logprobs(msgspec.Struct, frozen=True):
    content: tuple[TokenLogprob, ...] | None = None


class _Choice(msgspec.Struct, frozen=True):
    index: int = 0
    delta: _Said | None = None
    message: _Said | None = None
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None


class _Cached(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None


class _Thought(msgspec.Struct, frozen=True):
    reasoning_tokens: int | None = None


class WireUsage(msgspec.Struct, frozen=True):
    """`usage` as hosts send it."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Cached | None = None
    completion_tokens_details: _Thought | None = None

    def neutral(self) -> Usage:
        """In neutral words."""
        cached = self.prompt_tokens_details.cached_tokens if self.prompt_tokens_details else None
        thought = self.completion_tokens_details.reasoning_tokens if self.completion_tokens_details else None
        return Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cached_tokens=cached or 0,
            reasoning_tokens=thought or 0,
        )


class _Payload(msgspec.Struct, frozen=True):
    choices: list[_Choice] | None = None
    usage: WireUsage | None = None
    error: WireError | str | None = None


_DECODER = msgspec.json.Decoder(_Payload)


class StreamDecoder:
    """One host's stream of one choice. `Ended` comes with `[DONE]` (the usage stands in the chunk before it)."""

    def __init__(self) -> None:
        self._parser = SseParser()
        self._reason: FinishReason | None = None
        self._stop: str | None = None
        self._usage: Usage | None = None
        self._over = False

    def feed(self, chunk: bytes) -> list[ChatEvent]:
        """The events this chunk completes; after `Ended` or `Failed` there are none."""
        events: list[ChatEvent] = []
        try:
            for message in () if self._over else self._parser.feed(chunk):
                if message.data == b"[DONE]":
                    events.append(self._end())
                else:
                    self._payload(parse_body(_DECODER, message.data), events)
                if isinstance(events[-1] if events else None, Ended | Failed):
                    break
        except RequestError as exc:
            error = UpstreamMalformed("The host sent a chunk that is no chat completion.")
            error.add_note(exc.message)
            events.append(self._fail(error))
        except UpstreamMalformed as exc:
            events.append(self._fail(exc))
        return events

    def close(self) -> list[ChatEvent]:
        """The host closed the connection: `Ended` if the answer was whole, `Failed(UpstreamLost)` if it was cut."""
        return [] if self._over else [self._end()]

    def _end(self) -> ChatEvent:
        if self._reason is None:
            return self._fail(UpstreamLost("The host went away in the middle of the answer."))
        self._over = True
        return Ended(self._reason, self._usage, self._stop)

    def _fail(self, error: CortexError) -> Failed:
        self._over = True
        return Failed(error)

    def _payload(self, payload: _Payload, events: list[ChatEvent]) -> None:
        if payload.error is not None:
            events.append(self._fail(error_of(payload.error)))
            return
        if payload.usage is not None:
            self._usage = payload.usage.neutral()
        for choice in payload.choices or ():
            if choice.index:
                raise UpstreamMalformed("The host sent a second choice that nobody asked for.")
            if choice.delta is not None:
                _deltas(choice.delta, _logprobs(choice), events)
            if choice.finish_reason is not None:
                self._reason, self._stop = _finish(choice)


def _finish(choice: _Choice) -> tuple[FinishReason, str | None]:
    reason = _FINISH.get(choice.finish_reason or "stop", FinishReason.STOP)
    if reason is FinishReason.STOP and isinstance(choice.stop_reason, str):
        return FinishReason.STOP_SEQUENCE, choice.stop_reason
    return reason, None


def _logprobs(choice: _Choice) -> tuple[TokenLogprob, ...]:
    return () if choice.logprobs is None else choice.logprobs.content or ()


def _deltas(said: _Said, logprobs: tuple[TokenLogprob, ...], events: list[ChatEvent]) -> None:
    if thought := said.reasoning_content or said.reasoning:
        events.append(ReasoningDelta(thought))
    if said.content or logprobs:
        events.append(TextDelta(said.content or "", logprobs=logprobs))
    for position, call in enumerate(said.tool_calls or ()):
        index = position if call.index is None else call.index
        events.append(ToolCallDelta(index, call.id, call.function.name, call.function.arguments or ""))


def decode_response(body: bytes) -> list[ChatEvent]:
    """A whole answer as events. Raises UpstreamMalformed when it is none, and the host's error if it holds one."""
    try:
        payload = parse_body(_DECODER, body)
    except RequestError as exc:
        raise UpstreamMalformed("The host answered something that is no chat completion.") from exc
    if payload.error is not None:
        raise error_of(payload.error)
    if not payload.choices or payload.choices[0].message is None:
        raise UpstreamMalformed("The host answered a chat completion without a message.")
    choice, said = payload.choices[0], payload.choices[0].message
    reason, stop = _finish(choice)
    calls = tuple(
        ToolCall(
            id=call.id or f"call_{index}",
            name=call.function.name or "",
            arguments=call.function.arguments or "{}",
        )
        for index, call in enumerate(said.tool_calls or ())
    )
    return events_of(
        Answer(
            text=said.content or "",
            reasoning=said.reasoning_content or said.reasoning or "",
            tool_calls=calls,
            ended=Ended(reason, payload.usage.neutral() if payload.usage else None, stop),
            logprobs=_logprobs(choice),
        )
    )
