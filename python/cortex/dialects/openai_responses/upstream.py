"""What a server that speaks Responses itself answers: its events and whole answers, as far as a gateway reads them."""

from typing import Any

import msgspec

from cortex.dialects.openai_responses.response import error_object
from cortex.dialects.openai_upstream import WireError, error_of
from cortex.errors import CortexError, UpstreamMalformed
from cortex.types import Usage

__all__ = ["NativeEvent", "failed_event", "native_usage", "read_native"]

_WAITING = frozenset({"response.created", "response.in_progress", "response.queued"})
_ENDS = frozenset({"response.completed", "response.incomplete"})


class _Cached(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None


class _Thought(msgspec.Struct, frozen=True):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct, frozen=True):
    input_tokens: int = 0
    output_tokens: int = 0
    input_tokens_details: _Cached | None = None
    output_tokens_details: _Thought | None = None

    def neutral(self) -> Usage:
        cached = self.input_tokens_details.cached_tokens if self.input_tokens_details else None
        thought = self.output_tokens_details.reasoning_tokens if self.output_tokens_details else None
        return Usage(
            prompt_tokens=self.input_tokens,
            completion_tokens=self.output_tokens,
            cached_tokens=cached or 0,
            reasoning_tokens=thought or 0,
        )


class _Answer(msgspec.Struct, frozen=True):
    object: str | None = None
    status: str | None = None
    usage: _Usage | None = None
    error: WireError | str | None = None


class NativeEvent(msgspec.Struct, frozen=True):
    """One event of a stream; `response` is there where it begins and ends."""

    type: str
    sequence_number: int = -1
    response: msgspec.Raw = msgspec.Raw(b"null")
    error: WireError | str | None = None
    code: str | int | None = None
    message: str | None = None

    @property
    def waits(self) -> bool:
        """Nothing is generated yet."""
        return self.type in _WAITING

    @property
    def generates(self) -> bool:
        """It carries something generated."""
        return self.type.endswith(".delta")

    @property
    def ends(self) -> bool:
        """The answer is at its end."""
        return self.type in _ENDS

    def failure(self) -> CortexError | None:
        """The server's error, in our class, where the event tells of one."""
        if self.type == "error":
            return error_of(self.error or WireError(message=self.message, code=self.code))
        if self.type == "response.failed":
            return error_of(_answer(bytes(self.response)).error or WireError())
        return None

    def usage(self) -> Usage | None:
        """Of an event that ends the answer."""
        told = _answer(bytes(self.response)).usage
        return None if told is None else told.neutral()


_EVENT = msgspec.json.Decoder(NativeEvent)
_ANSWER = msgspec.json.Decoder(_Answer)


def read_native(data: bytes) -> NativeEvent:
    """One event's data. Raises UpstreamMalformed."""
    try:
        if not data.isascii():
            data.decode()
        return _EVENT.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise _malformed(exc) from exc


def native_usage(body: bytes) -> Usage | None:
    """The usage of a whole answer. Raises the server's error, and UpstreamMalformed for what is no answer."""
    told = _answer(body)
    if told.object != "response" or told.status is None:
        raise _malformed(ValueError("not a response object"))
    if told.status == "failed":
        raise error_of(told.error or WireError())
    return None if told.usage is None else told.usage.neutral()


def failed_event(begun: bytes | None, number: int, error: CortexError) -> bytes:
    """The event that ends a stream which broke: `begun` is the object that the stream began with, if it did."""
    answer: dict[str, Any] = {"object": "response", "output": []} if begun is None else msgspec.json.decode(begun)
    answer |= {"status": "failed", "error": error_object(error)}
    data = msgspec.json.encode({"type": "response.failed", "response": answer, "sequence_number": number})
    return b"event: response.failed\ndata: " + data + b"\n\n"


def _answer(body: bytes) -> _Answer:
    try:
        return _ANSWER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise _malformed(exc) from exc


def _malformed(exc: Exception) -> CortexError:
    error = UpstreamMalformed("The host sent something that is not its protocol.")
    error.add_note(str(exc))
    return error
