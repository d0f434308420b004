"""An OpenAI-compatible server over bare sockets, as a process, with faults that no HTTP library would commit.

Run: python -m tests.fakes.raw_server PORT MODEL [MODEL ...]
The prompt names the fault (`fault:cut`), whatever the dialect it came in; without one the answer is good.
`GET /stats` tells how many chat requests came and how many bytes were sent.
"""

import asyncio
import json
import re
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

__all__ = ["BEFORE", "DURING", "FAULT"]

FAULT = re.compile(rb"fault:([a-z0-9_]+)")
PIECES = ("The capital", " of France", " is Paris.")
_USAGE = {"prompt_tokens": 7, "completion_tokens": len(PIECES), "total_tokens": 7 + len(PIECES)}
_PAD = "x" * 8192
_APART_SECONDS = 0.05  # so that what came before a fault is read before it
Say = Callable[[bytes], Awaitable[None]]


def _whole(status: int, body: bytes, media: str = "application/json", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {media}\r\ncontent-length: {size}\r\n\r\n"
    return head.encode() + body


_HTML = b"<html>no</html>"
_SECRET = json.dumps({"error": {"message": "secret detail", "type": "server_error", "code": "boom"}}).encode()
# Instead of an answer; the connection closes after it.
BEFORE: dict[str, bytes] = {
    "drop": b"",
    "reset": b"",
    "never": b"",
    "garbage": bytes(range(128, 256)) * 8 + b"\r\n\r\n",
    "http500": _whole(500, _SECRET),
    "html500": _whole(500, _HTML, "text/html"),
    "http503": _whole(503, _SECRET),
    "html": _whole(200, _HTML, "text/html"),
    "bad_json": _whole(200, b'{"choices": [{'),
    "wrong_json": _whole(200, b'{"hello": 1}'),
    "error_200": _whole(200, _SECRET),
    "short": _whole(200, b'{"choices": ', length=1000),
    "redirect": b"HTTP/1.1 302 X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
    "head_cut": b"HTTP/1.1 200 OK\r\ncontent-type: appl",
}


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


_END = _chunk(b"")
# After two events of a stream, as they stand on the wire; the connection closes after it.
DURING: dict[str, bytes] = {
    "cut": b"",
    "reset_mid": b"",
    "stall": b"",
    "bad_chunk": b"zzz\r\nwhat\r\n",
    "bad_event": _chunk(b"data: {not json}\n\n") + _END,
    "bad_utf8": _chunk(b'data: "\xff\xfe"\n\n') + _END,
    "half_event": _chunk(b'data: {"cho') + _END,
    "no_done": _END,
    "other_json": _chunk(b"data: [1,2,3]\n\n") + _END,
    "error_event": _chunk(b"data: " + _SECRET + b"\n\n") + _END,
}


class Server:
    """The server's counts and its models."""

    def __init__(self, models: list[str]) -> None:
        self.models = models
        self.asked = 0
        self.sent = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request, until a fault ends it."""

        async def say(data: bytes) -> None:
            self.sent += len(data)
            writer.write(data)
            await writer.drain()

        try:
            while await self._answer(reader, say, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, say: Say, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        path = head.split(" ", 2)[1]
        length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
        body = await reader.readexactly(int(length[1])) if length else b""
        if path == "/v1/models":
            await say(_whole(200, json.dumps({"data": [{"id": name} for name in self.models]}).encode()))
            return True
        if path == "/stats":
            await say(_whole(200, json.dumps({"asked": self.asked, "sent": self.sent}).encode()))
            return True
        self.asked += 1
        found = FAULT.search(body)
        fault = found[1].decode() if found else ""
        if fault in BEFORE:
            await _misbehave(fault, BEFORE[fault], say, writer, reader)
            return False
        asked = json.loads(body)
        if not asked.get("stream"):
            await say(_whole(200, _answer_to(path, asked["model"])))
            return True
        return await _stream(path, asked, fault, say, writer, reader)


async def _misbehave(
    fault: str, data: bytes, say: Say, writer: asyncio.StreamWriter, reader: asyncio.StreamReader
) -> None:
    if data:
        await say(data)
    if fault in ("never", "stall"):
        await reader.read(1)  # until the other side gives up
    if fault in ("reset", "reset_mid"):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _choice(path: str, text: str, finish: str | None, *, stream: bool) -> dict[str, Any]:
    if path.endswith("/chat/completions"):
        said: dict[str, Any] = {"delta" if stream else "message": {"role": "assistant", "content": text}}
    else:
        said = {"text": text}
    return {"index": 0, "finish_reason": finish, "logprobs": None, **said}


def _object(path: str, model: str, choices: list[dict[str, Any]], *, stream: bool) -> dict[str, Any]:
    kind = "chat.completion" if path.endswith("/chat/completions") else "text_completion"
    kind += ".chunk" if stream and kind.startswith("chat") else ""
    return {"id": "chatcmpl-raw", "object": kind, "created": 1, "model": model, "choices": choices}


def _answer_to(path: str, model: str) -> bytes:
    if path.endswith("/embeddings"):
        entry = {"object": "embedding", "index": 0, "embedding": [0.5, 0.5]}
        usage = {"prompt_tokens": 7, "total_tokens": 7}
        return json.dumps({"object": "list", "data": [entry], "model": model, "usage": usage}).encode()
    whole = _object(path, model, [_choice(path, "".join(PIECES), "stop", stream=False)], stream=False)
    return json.dumps({**whole, "usage": _USAGE}).encode()


def _events(path: str, model: str, *, usage: bool) -> list[bytes]:
    chat = path.endswith("/chat/completions")
    told: list[dict[str, Any]] = []
    for at, piece in enumerate(PIECES):
        choice = _choice(path, piece, None, stream=True)
        if chat and at:
            del choice["delta"]["role"]
        told.append(_object(path, model, [choice], stream=True))
    last = _choice(path, "", "stop", stream=True) | ({"delta": {}} if chat else {})
    told.append(_object(path, model, [last], stream=True))
    if usage:
        told.append({**_object(path, model, [], stream=True), "usage": _USAGE})
    return [*(b"data: " + json.dumps(one).encode() + b"\n\n" for one in told), b"data: [DONE]\n\n"]


async def _stream(
    path: str, asked: dict[str, Any], fault: str, say: Say, writer: asyncio.StreamWriter, reader: asyncio.StreamReader
) -> bool:
    await say(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    events = _events(path, asked["model"], usage=bool((asked.get("stream_options") or {}).get("include_usage")))
    if fault in DURING:
        await say(b"".join(map(_chunk, events[:2])))
        await asyncio.sleep(_APART_SECONDS)
        await _misbehave(fault, DURING[fault], say, writer, reader)
        return False
    if fault == "endless":
        one = _chunk(events[1].replace(PIECES[1].encode(), _PAD.encode()))
        while True:
            await say(one)
    if fault == "trickle":
        for byte in _chunk(b"".join(events)):
            await say(bytes([byte]))
    else:
        for event in events:
            await say(_chunk(event))
    if fault == "cut_after_end":
        await asyncio.sleep(_APART_SECONDS)
        return False
    await say(_END)
    return True


async def main(port: int, models: list[str]) -> None:
    """Serve until the process is ended."""
    made = Server(models)
    server = await asyncio.start_server(made.serve, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2:]))
