"""A client over bare sockets: it sees how an answer ends on the wire, and can behave as badly as clients do."""

import asyncio
import json
import re
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Exchange", "Manners", "exchange", "parsed", "request_bytes"]

SECONDS = 60.0
_LINGER_OFF = struct.pack("ii", 1, 0)  # closing resets the connection


@dataclass(frozen=True)
class Exchange:
    """What came back: `status` None = not even a head; `whole` = the framing says that the body is complete; `extra` is
    what came after that, `left` = the client did not wait for the end."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = False
    extra: bytes = b""
    left: bool = False

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Manners:
    """`leave_after` bytes of the answer it goes (0 = at once, after sending), with a reset where `rude`; it reads
    `read_bytes` at a time and pauses `pause_seconds` before each read."""

    leave_after: int | None = None
    rude: bool = False
    read_bytes: int = 1 << 16
    pause_seconds: float = 0.0


GOOD = Manners()


def request_bytes(path: str, body: bytes, headers: Mapping[str, str] | None = None, *, close: bool = True) -> bytes:
    """A POST as bytes; without `close` the connection stays open after the answer."""
    pairs = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(body))}
    pairs |= {"connection": "close"} if close else {}
    head = "".join(f"{name}: {value}\r\n" for name, value in {**pairs, **(headers or {})}.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


async def exchange(
    port: int,
    path: str,
    body: Mapping[str, Any],
    *,
    headers: Mapping[str, str] | None = None,
    manners: Manners = GOOD,
    seconds: float = SECONDS,
) -> Exchange:
    """One POST on a connection of its own. Raises ConnectionRefusedError where nobody listens, and TimeoutError where
    the answer does not end within `seconds`."""
    small = 4096 if manners.pause_seconds else None
    async with asyncio.timeout(seconds):
        reader, writer = await _connect(port, small)
        try:
            writer.write(request_bytes(path, json.dumps(body).encode(), headers))
            await writer.drain()
            raw, left = await _read(reader, manners)
        except ConnectionError:
            raw, left = b"", False
        finally:
            if manners.rude and not writer.is_closing():
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)
            writer.close()
    return parsed(raw, left=left)


async def _connect(port: int, small: int | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """`small` = the size of the receive buffer, so that a slow reader is felt soon."""
    raw = socket.socket()
    raw.setblocking(False)
    if small is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, small)
    try:
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
        return await asyncio.open_connection(sock=raw, limit=small or 1 << 16)
    except BaseException:
        raw.close()
        raise


async def _read(reader: asyncio.StreamReader, manners: Manners) -> tuple[bytes, bool]:
    """What came until the server closed, and whether we left before."""
    raw = bytearray()
    while True:
        if manners.leave_after is not None and len(raw) >= manners.leave_after:
            return bytes(raw), True
        if manners.pause_seconds:
            await asyncio.sleep(manners.pause_seconds)
        try:
            data = await reader.read(manners.read_bytes)
        except ConnectionError:
            data = b""
        if not data:
            return bytes(raw), False
        raw += data


def parsed(raw: bytes, *, left: bool = False) -> Exchange:
    """The answer in these bytes, as far as it goes."""
    head, found, rest = raw.partition(b"\r\n\r\n")
    if not found:
        return Exchange(left=left, extra=raw)
    first, *lines = head.decode("latin-1").split("\r\n")
    status = re.fullmatch(r"HTTP/1\.1 (\d{3})(?: .*)?", first)
    assert status is not None, f"no status line: {first!r}"
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body, whole, extra = _dechunked(rest)
    else:
        length = int(headers.get("content-length", "0"))
        body, whole, extra = rest[:length], len(rest) >= length, rest[length:]
    return Exchange(int(status[1]), headers, body, whole, extra, left)


def _dechunked(rest: bytes) -> tuple[bytes, bool, bytes]:
    """Body, whether its last chunk is there, and what follows."""
    body = bytearray()
    while True:
        line, found, rest = rest.partition(b"\r\n")
        if not found:
            return bytes(body), False, b""
        try:
            size = int(line, 16)
        except ValueError:
            told = f"no chunk: {line[:200]!r} after {bytes(body[-600:])!r}, then {rest[:600]!r}"
            raise AssertionError(told) from None
        if size == 0:
            return bytes(body), rest.startswith(b"\r\n"), rest[2:]
        body += rest[:size]
        if len(rest) < size + 2:
            return bytes(body), False, b""
        rest = rest[size + 2 :]
