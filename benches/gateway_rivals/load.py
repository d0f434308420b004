"""Load: keep-alive clients over bare sockets, cheap enough to leave the cores to the gateway that is measured."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benches.gateway_rivals.mock import STAMP

__all__ = ["BIG_BYTES", "Load", "Wire", "asked"]

BIG_BYTES = 87_000
_SECONDS = 120.0


def asked(path: str, model: str, headers: Mapping[str, str], *, size: int = 0, **more: Any) -> bytes:
    """A request as bytes, its body padded to `size`; `pace` goes into the prompt."""
    pace = f" pace:{more.pop('pace')}" if "pace" in more else ""
    messages = [{"role": "user", "content": f"Capital of France?{pace}"}]
    body: dict[str, Any] = {"model": model, "messages": messages, "max_tokens": 100, **more}
    if size:
        words = "word " * ((size - len(json.dumps(body))) // 500)
        for at in range(100):  # a long conversation, as agents send it
            messages.insert(at, {"role": ("user", "assistant")[at % 2], "content": words})
    raw = json.dumps(body).encode()
    fields = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(raw)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + raw


class Wire(asyncio.Protocol):
    """One connection; one request at a time. `delays` are seconds from the mock's sending to the arrival of chunks."""

    def __init__(self) -> None:
        self._data = b""
        self._answered: asyncio.Future[bool] | None = None
        self._head = False
        self._left: int | None = None
        self.arrivals: list[tuple[int, int]] = []

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.Transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(exc or ConnectionResetError("closed"))

    async def ask(self, raw: bytes) -> None:
        """Send it and read its whole answer. Raises RuntimeError for one that is no success."""
        self._answered = asyncio.get_running_loop().create_future()
        self._data, self._head, self._left = b"", False, None
        self._transport.write(raw)
        await self._answered

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self._data += data
        if not self._head and not self._begin():
            return
        if self._left is None:
            end = 0
            for stamp in STAMP.finditer(self._data):
                self.arrivals.append((int(stamp[1]), now))
                end = stamp.end()
            done = self._data.endswith(b"0\r\n\r\n")
            self._data = self._data[max(end, len(self._data) - 64) :]
        else:
            done = len(self._data) >= self._left
        if done and self._answered is not None and not self._answered.done():
            self._answered.set_result(True)

    def _begin(self) -> bool:
        head, found, rest = self._data.partition(b"\r\n\r\n")
        if not found:
            return False
        self._head, self._data = True, rest
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                self._left = int(line[15:])
        if b" 200 " not in head[:16] and self._answered is not None and not self._answered.done():
            self._answered.set_exception(RuntimeError(f"{head[:40]!r} {rest[:200]!r}"))
        return True


@dataclass
class Load:
    """Clients at one port. `seconds` are those of each request, `arrivals` (sent, arrived) in ns of each stream."""

    port: int
    seconds: list[float] = field(default_factory=list)
    arrivals: list[list[tuple[int, int]]] = field(default_factory=list)
    wall: float = 0.0

    async def run(self, raw: bytes, *, clients: int, requests: int) -> "Load":
        """So many requests by so many clients at once."""
        loop = asyncio.get_running_loop()
        wires = [(await loop.create_connection(Wire, "127.0.0.1", self.port))[1] for _ in range(clients)]
        left = requests
        started = time.perf_counter()

        async def client(wire: Wire) -> None:
            nonlocal left
            while left > 0:
                left -= 1
                wire.arrivals = []
                before = time.perf_counter()
                await wire.ask(raw)
                self.seconds.append(time.perf_counter() - before)
                self.arrivals.append(wire.arrivals)

        async with asyncio.timeout(_SECONDS):
            await asyncio.gather(*map(client, wires))
        self.wall = time.perf_counter() - started
        for wire in wires:
            wire.close()
        return self
