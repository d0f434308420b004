"""A mock upstream over bare sockets, far cheaper than any gateway in front of it. Run: python -m ….mock PORT

`max_tokens` is the number of chunks of a stream; `pace:N` in the prompt sends N a second, else they come at once. Each
chunk's text is CLOCK_MONOTONIC in ns between `@`, at which it was sent.
"""

import asyncio
import json
import re
import sys
import time
from typing import Any

import uvloop

__all__ = ["MODEL", "STAMP"]

MODEL = "mock"
STAMP = re.compile(rb"@(\d+)@")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_STREAM = re.compile(rb'"stream": *true')
_TOKENS = re.compile(rb'"max_(?:completion_)?tokens": *(\d+)')
_PACE = re.compile(rb"pace:(\d+)")
_USAGE = '"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}'
_HEAD = '{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"mock","choices":'
_DONE = b"data: [DONE]\n\n"


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(delta: str, finish: str = "null") -> bytes:
    return _chunked(f'data: {_HEAD}[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}\n\n'.encode())


def _whole(body: str) -> bytes:
    raw = body.encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(raw), raw)


_BEGIN = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_ROLE = _event('{"role":"assistant","content":""}')
_LAST = _event("{}", '"stop"') + _chunked(f"data: {_HEAD}[],{_USAGE}}}\n\n".encode()) + _chunked(_DONE) + b"0\r\n\r\n"
_ANSWER = _whole(
    '{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"mock","choices":[{"index":0,"message":'
    f'{{"role":"assistant","content":"The capital of France is Paris."}},"finish_reason":"stop"}}],{_USAGE}}}'
)
_CARD = {"id": MODEL, "object": "model", "created": 1, "owned_by": "mock", "max_model_len": 200_000}
_OTHERS = _whole(json.dumps({"object": "list", "data": [_CARD], "status": "ok", "model_path": MODEL}))


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.WriteTransport = transport
        self._data = b""
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            found = _LENGTH.search(self._data, 0, end)
            size = end + 4 + (int(found[1]) if found else 0)
            if len(self._data) < size:
                return
            request, self._data = self._data[:size], self._data[size:]
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        if not request.startswith(b"POST") or b"chat/completions" not in request[:200]:
            self._transport.write(_OTHERS)
        elif not _STREAM.search(request):
            self._transport.write(_ANSWER)
        else:
            tokens, pace = _TOKENS.search(request), _PACE.search(request)
            self._transport.write(_BEGIN + _ROLE)
            seconds = 1 / int(pace[1]) if pace else 0.0
            self._next(int(tokens[1]) if tokens else 100, seconds, self._loop.time())

    def _next(self, left: int, pause: float, due: float) -> None:
        """Each is due a pause after the one before, however late that was."""
        if self._transport.is_closing():
            return
        if left == 0:
            self._transport.write(_LAST)
            return
        self._transport.write(_event(f'{{"content":"@{time.monotonic_ns()}@"}}'))
        if pause:
            self._loop.call_at(due + pause, self._next, left - 1, pause, due + pause)
        else:
            self._loop.call_soon(self._next, left - 1, pause, due)


async def main(port: int) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", port, backlog=2048)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
