"""Streams of completions: raw sockets, one coroutine each, the time of every line that brings text."""

import asyncio
import json
import random
import time
from dataclasses import dataclass, field

# Each is one token of the starter model with the space before it.
WORDS = "time year people way day man thing woman life child world school state family student group country problem"
NEW_TOKENS = 64
TEXT = b'"text":'


@dataclass
class Stream:
    """When a request was sent, and when its text came."""

    sent: float
    arrivals: list[float] = field(default_factory=list)

    @property
    def first(self) -> float:
        """Seconds to the first token."""
        return self.arrivals[0] - self.sent

    def gaps(self, start: float, end: float) -> list[float]:
        """Seconds between arrivals within a span of time."""
        pairs = zip(self.arrivals, self.arrivals[1:], strict=False)
        return [after - before for before, after in pairs if after >= start and before <= end]


def prompt(words: int, seed: int) -> str:
    """A text that no other seed's text begins with."""
    choice = random.Random(seed)
    return " ".join(choice.choice(WORDS.split()) for _ in range(words))


async def complete(port: int, model: str, text: str, tokens: int = NEW_TOKENS) -> Stream:
    """One streamed completion of exactly so many tokens. Raises AssertionError for another answer than 200."""
    body = json.dumps(
        {
            "model": model,
            "prompt": text,
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
        }
    ).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"POST /v1/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    stream = Stream(time.monotonic())
    writer.write(head.encode() + body)
    status = await reader.readline()
    assert b" 200 " in status, status + await reader.read(2000)
    async for line in reader:
        if line.startswith(b"data: {") and TEXT in line:
            stream.arrivals.append(time.monotonic())
        if line.startswith(b"data: [DONE]"):
            break
    writer.close()
    return stream
