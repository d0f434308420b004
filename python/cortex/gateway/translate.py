"""Translation: a host's chat stream, decoded to neutral events and written in another dialect as it comes."""

from collections.abc import Sequence
from typing import Protocol

from cortex.dialects.neutral import ChatEvent, Ended, Failed
from cortex.dialects.openai_chat import StreamDecoder
from cortex.errors import CortexError
from cortex.types import Usage

__all__ = ["Encoder", "Translation"]


class Encoder(Protocol):
    """A dialect's stream encoder."""

    def start(self) -> bytes: ...

    def event(self, event: ChatEvent) -> bytes: ...


class Translation:
    """One stream; the same face as a relay, so that one pump serves both."""

    def __init__(self, encoder: Encoder) -> None:
        self._decoder = StreamDecoder()
        self._encoder = encoder
        self._failure: CortexError | None = None
        self.first_token: float | None = None
        self.last_token: float | None = None
        self.events = 0
        self.ended = False
        self.usage: Usage | None = None

    def feed(self, chunk: bytes, now: float) -> bytes:
        """The bytes for the client. Raises the host's error, in our class; what stands before it goes out first, and
        the next call raises."""
        if self._failure is not None:
            raise self._failure
        return self._written(self._decoder.feed(chunk), now)

    @property
    def fresh(self) -> bool:
        """True until something generated was written: so long another host may begin anew."""
        return self.events == 0

    def close(self) -> bytes:
        """The host closed the connection; raises UpstreamLost when the answer was not at its end."""
        if self._failure is not None:
            raise self._failure
        return self._written(self._decoder.close(), self.last_token or 0.0)

    def _written(self, events: Sequence[ChatEvent], now: float) -> bytes:
        written: list[bytes] = []
        for event in events:
            if not isinstance(event, Failed):
                written.append(self._write(event, now))
            elif written:
                self._failure = event.error
            else:
                raise event.error
        return b"".join(written)

    def _write(self, event: ChatEvent, now: float) -> bytes:
        if isinstance(event, Ended):
            self.usage, self.ended = event.usage, True
        else:
            self.events += 1
            self.first_token = now if self.first_token is None else self.first_token
            self.last_token = now
        return self._encoder.event(event)
