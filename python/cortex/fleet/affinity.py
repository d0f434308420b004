"""Affinity: which host has seen the beginning of a prompt, so that a conversation goes on where its prefix is cached.

A prompt is remembered by its heads of 512, 1024, 2048, ... bytes; the next turn of a conversation begins with all that
the last one had, so its longest remembered head names the host. Shorter prompts are not worth it.
"""

import zlib
from collections import OrderedDict

__all__ = ["Affinity"]

_SHORTEST = 512
_LONGEST = 1 << 20
_SEARCHED = 8192


class Affinity:
    """Bounded: the heads that were not met for longest are forgotten. Collisions only cost a cache hit."""

    def __init__(self, limit: int = 50_000) -> None:
        self._limit = limit
        self._hosts: OrderedDict[tuple[str, int, int], str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._hosts)

    def find(self, model: str, prompt: bytes) -> str | None:
        """The host that has seen the longest head of the prompt, None if none is remembered."""
        for key in reversed(_heads(model, prompt)):
            host = self._hosts.get(key)
            if host is not None:
                self._hosts.move_to_end(key)
                return host
        return None

    def learn(self, model: str, prompt: bytes, host: str) -> None:
        """The host sees this prompt now."""
        for key in _heads(model, prompt):
            self._hosts[key] = host
            self._hosts.move_to_end(key)
        while len(self._hosts) > self._limit:
            self._hosts.popitem(last=False)


def _heads(model: str, body: bytes) -> list[tuple[str, int, int]]:
    """Keys of the heads, from where the messages begin: what stands before differs between calls that are alike."""
    prompt = memoryview(body)[max(body.find(b'"messages"', 0, _SEARCHED), 0) :]
    heads, done, check, size = [], 0, 0, _SHORTEST
    while size <= len(prompt) and size <= _LONGEST:
        check = zlib.crc32(prompt[done:size], check)
        heads.append((model, size, check))
        done, size = size, size * 2
    return heads
