"""Relay: passes a host's OpenAI stream on event by event, bytes untouched, and learns what the meter needs.

Only whole events are passed on, so that an error event can follow anywhere. Events are decoded until the first token
and where a mark shows that they are special (an error, the usage, the end); of all others only the form is looked at:
a client shall not be the one who finds out that a host sends garbage.
"""

import re
from typing import Any

import msgspec

from cortex.dialects.openai_chat.upstream import WireUsage
from cortex.dialects.openai_upstream import WireError, error_of
from cortex.dialects.sse import SseParser
from cortex.errors import CortexError, UpstreamLost, UpstreamMalformed
from cortex.types import Usage

__all__ = ["Relay", "usage_of"]

_EVENT = re.compile(rb".*?(?:\r\n\r\n|\n\n|\r\r)", re.DOTALL)
_SPECIAL = re.compile(rb'"error"|\[DONE\]|"choices":\s*\[\s*\]')
_LIMIT = 32 * 1024 * 1024
_HOLD_LIMIT = 64 * 1024


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[Any] | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, frozen=True):
    choices: list[_Choice] | None = None
    usage: WireUsage | None = None
    error: WireError | str | None = None


class _Object(msgspec.Struct, frozen=True):
    """Any JSON object."""


_DECODER = msgspec.json.Decoder(_Chunk)
_FORM = msgspec.json.Decoder(_Object)


class Relay:
    """One stream. `now` is monotonic seconds. `drop_usage` takes the usage event out, for a client that did not ask.

    `fresh` until an event passed: so long another host may begin anew. The role, which comes before the first token,
    is held back until then."""

    def __init__(self, *, drop_usage: bool) -> None:
        self._drop_usage = drop_usage
        self._tail = b""
        self._done = False
        self._begun = False
        self._held = b""
        self._failure: CortexError | None = None
        self.first_token: float | None = None
        self.last_token: float | None = None
        self.events = 0
        self.usage: Usage | None = None
        self.fresh = True

    @property
    def ended(self) -> bool:
        """Whether the answer has come to its end."""
        return self._done and self._failure is None

    def feed(self, chunk: bytes, now: float) -> bytes:
        """What to pass on of this chunk. Raises the host's error, in our class, and UpstreamMalformed; where events
        stand before the failing one they go out first, and the next call raises."""
        if self._failure is not None:
            raise self._failure
        whole = self._whole(self._tail + chunk if self._tail else chunk)
        if not whole or self._done:
            return b""
        if not self._passes_whole(whole):
            return self._sifted(whole, now)
        self.events += whole.count(b"data:")
        self.last_token = now
        return whole

    def _passes_whole(self, whole: bytes) -> bool:
        """Whether these events need not be looked at one by one."""
        return self.first_token is not None and not _SPECIAL.search(whole) and _plain(whole)

    def close(self) -> bytes:
        """The host closed the connection; raises UpstreamLost when the answer was not at its end."""
        if self._failure is not None:
            raise self._failure
        if not self._done:
            raise UpstreamLost("The host went away in the middle of the answer.")
        return b""

    def _sifted(self, whole: bytes, now: float) -> bytes:
        passed: list[bytes] = []
        for raw in _EVENT.findall(whole):
            try:
                passed.append(self._sift(raw, now))
            except CortexError as error:
                if not any(passed):
                    raise
                self._failure = error
                break
        return b"".join(passed)

    def _whole(self, data: bytes) -> bytes:
        """The whole events at the front; the rest waits for more."""
        if data.endswith(b"\n\n"):
            self._tail = b""
            return data
        cut = max(data.rfind(mark) + len(mark) if mark in data else 0 for mark in (b"\n\n", b"\r\n\r\n", b"\r\r"))
        self._tail = data[cut:]
        if len(self._tail) > _LIMIT:
            raise UpstreamMalformed(f"The host sent one event of more than {_LIMIT} bytes.")
        return data[:cut]

    def _sift(self, raw: bytes, now: float) -> bytes:
        """What goes out at this event: 1. nothing after the end; 2. a comment passes; 3. one that says nothing yet
        waits, so that the answer stays fresh; 4. all others go out, after those that waited."""
        if self._done:  # 1.
            return b""
        events = SseParser().feed(raw)
        if not events:  # 2.
            return raw
        if not all(self._pass(event.data, now) for event in events):
            return b""
        if not self._begun and len(self._held) < _HOLD_LIMIT:  # 3.
            self._held += raw
            return b""
        held, self._held = self._held, b""  # 4.
        self._begun, self.fresh = True, False
        return held + raw

    def _pass(self, data: bytes, now: float) -> bool:
        if data == b"[DONE]":
            self._done = self._begun = True
            return True
        chunk = _decode(data)
        if chunk.error is not None:
            raise error_of(chunk.error)
        if chunk.usage is not None:
            self.usage = chunk.usage.neutral()
        if any(_says(choice) for choice in chunk.choices or ()):
            self.events += 1
            self.first_token = now if self.first_token is None else self.first_token
            self.last_token = now
            self._begun = True
        elif any(choice.finish_reason for choice in chunk.choices or ()):
            self._begun = True
        return not (self._drop_usage and chunk.usage is not None and not chunk.choices)


def _plain(whole: bytes) -> bool:
    """Whether these are nothing but events of one line with a JSON object in each."""
    if not whole.endswith(b"\n\n"):
        return False
    try:
        if not whole.isascii():
            whole.decode()
        for event in whole.split(b"\n\n")[:-1]:
            if not event.startswith(b"data: {"):
                return False
            _FORM.decode(event[6:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _says(choice: _Choice) -> bool:
    """Whether the choice carries something generated."""
    delta = choice.delta
    if delta is None:
        return bool(choice.text)
    return bool(delta.content or delta.reasoning_content or delta.reasoning or delta.tool_calls)


def _decode(data: bytes) -> _Chunk:
    try:
        if not data.isascii():
            data.decode()  # what the decoder skips it does not look at
        return _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        error: CortexError = UpstreamMalformed("The host sent a chunk that is not its protocol.")
        error.add_note(str(exc))
        raise error from exc


def usage_of(body: bytes) -> Usage | None:
    """The usage of a whole answer. Raises UpstreamMalformed for one without choices, and the host's error."""
    answer = _decode(body)
    if answer.error is not None:
        raise error_of(answer.error)
    if answer.choices is None:
        raise UpstreamMalformed("The host answered something that is no completion.")
    return None if answer.usage is None else answer.usage.neutral()
