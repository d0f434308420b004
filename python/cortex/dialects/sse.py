"""Server-sent events: an incremental parser that takes any split of the bytes, and the encoder."""

import msgspec

from cortex.errors import UpstreamMalformed

__all__ = ["KEEP_ALIVE", "SseEvent", "SseParser", "encode"]

KEEP_ALIVE = b": keep-alive\n\n"

_LIMIT = 32 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"


class SseEvent(msgspec.Struct, frozen=True):
    """One dispatched event; `data` lines are joined by a newline, `event` is None without an `event:` line."""

    data: bytes
    event: str | None = None


class SseParser:
    """Feed it chunks as they come; it gives the events that are complete.

    Lines end with LF, CRLF or CR (also mixed), comments and unknown fields are skipped, an event without data is
    dropped. What is left when the stream ends without an empty line is no event, as the standard says.
    Raises UpstreamMalformed when one event grows over `limit` bytes.
    """

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._tail: list[bytes] = []
        self._size = 0
        self._data: list[bytes] = []
        self._event: str | None = None
        self._skip_newline = False
        self._start = b""
        self._started = False

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The events that this chunk completes, in order."""
        if not self._started:
            chunk = self._without_bom(chunk)
        if self._skip_newline and chunk:
            self._skip_newline = False
            if chunk[:1] == b"\n":
                chunk = chunk[1:]
        self._size += len(chunk)
        end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r")) + 1
        if not end:
            self._keep(chunk)
            return []
        self._skip_newline = chunk.endswith(b"\r")
        head = b"".join((*self._tail, chunk[:end]))
        self._tail.clear()
        events = self._lines(head)
        self._size = len(chunk) - end + sum(map(len, self._data))
        self._keep(chunk[end:])
        return events

    def _without_bom(self, chunk: bytes) -> bytes:
        self._start += chunk
        if len(self._start) < len(_BOM) and _BOM.startswith(self._start):
            return b""
        start, self._start, self._started = self._start, b"", True
        return start.removeprefix(_BOM)

    def _keep(self, rest: bytes) -> None:
        if self._size > self._limit:
            raise UpstreamMalformed(f"The host sent one event of more than {self._limit} bytes.")
        if rest:
            self._tail.append(rest)

    def _lines(self, head: bytes) -> list[SseEvent]:
        events = []
        for line in head.splitlines():
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif not line:
                if self._data:
                    data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                    events.append(SseEvent(data, self._event))
                    self._data.clear()
                self._event = None
            else:
                self._other(line)
        return events

    def _other(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"event":
            self._event = value.removeprefix(b" ").decode("utf-8", "replace")
        elif line == b"data":
            self._data.append(b"")


def encode(data: bytes, event: str | None = None) -> bytes:
    """One event; `data` is JSON (one line) or plain text, whose lines become `data:` lines."""
    head = b"" if event is None else b"event: " + event.encode() + b"\n"
    if b"\n" in data:
        data = b"\ndata: ".join(data.split(b"\n"))
    return head + b"data: " + data + b"\n\n"
