"""Translation: a host's chat stream, decoded to neutral events and written in another dialect as it comes."""

from typing import Protocol

from cortex.dialects.neutral import ChatEvent, Ended, Failed
from cortex.dialects.openai_chat import StreamDecoder
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
        self.first_token: float | None = None
        self.last_token: float | None = None
        self.events = 0
        self.usage: Usage | None = None

    def feed(self, chunk: bytes, now: float) -> bytes:
        """The bytes for the client. Raises the host's error, in our class."""
        return b"".join([self._write(event, now) for event in self._decoder.feed(chunk)])

    @property
    def fresh(self) -> bool:
        """True until something generated was written: so long another host may begin anew."""
        return self.events == 0

    def close(self) -> bytes:
        """The host closed the connection; raises UpstreamLost when the answer was not at its end."""
        return b"".join([self._write(event, self.last_token or 0.0) for event in self._decoder.close()])

    def _write(self, event: ChatEvent, now: float) -> bytes:
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, Ended):
            self.usage = event.usage
        else:
            self.events += 1
            self.first_token = now if self.first_token is None else self.first_token
            self.last_token = now
        return self._encoder.event(event)
