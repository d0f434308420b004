"""A stand-in for the compiled engine: its thread and its eventfd are real, its model counts."""

import json
import os
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from cortex.errors import ContextLengthExceeded, EngineFailed, InvalidField, QueueFull

__all__ = ["FakeEnding", "FakeEvent", "FakeNativeEngine", "FakePrompt"]


@dataclass(frozen=True)
class FakePrompt:
    """Token ids."""

    ids: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def tokens(self) -> list[int]:
        return list(self.ids)


@dataclass(frozen=True, kw_only=True)
class FakeEnding:
    """How a request ended."""

    reason: str
    prompt_tokens: int
    completion_tokens: int
    error: str | None = None
    stop_string: str | None = None
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    queue_seconds: float = 0.0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class FakeEvent:
    """One token's text, or the end."""

    request: int
    text: str = ""
    tokens: int = 0
    pieces: tuple[tuple[str, int | None, str], ...] = ()
    logprobs: str | None = None
    prompt_logprobs: str | None = None
    vectors: bytes | None = None
    ending: FakeEnding | None = None


@dataclass
class _Sequence:
    prompt_tokens: int
    max_tokens: int
    made: int = 0
    vectors: bytes | None = None

    def ending(self, reason: str, error: str | None = None) -> FakeEnding:
        return FakeEnding(reason=reason, error=error, prompt_tokens=self.prompt_tokens, completion_tokens=self.made)


def _bounded(tokens: bytes, most: int | None) -> FakePrompt:
    if most is not None and len(tokens) > most:
        raise ContextLengthExceeded(f"at least {len(tokens)} tokens", extras={"prompt_tokens": len(tokens)})
    return FakePrompt(tuple(tokens))


class FakeNativeEngine:
    """Each step gives every running request its next number as text. With `steps` given, only so many are made until
    `allow` adds more; `die` is a failure of the engine's thread."""

    def __init__(self, *, steps: int | None = None, max_running: int = 256) -> None:
        self._changed = threading.Condition()
        self._steps_left = steps
        self._max_running = max_running
        self._running: dict[int, _Sequence] = {}
        self._events: list[FakeEvent] = []
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._submitted = self._steps = self._finished = self._cancelled = 0
        self._closed = False
        self._failed: str | None = None
        self.drains = 0
        self.salts: list[int] = []
        self.thread = threading.Thread(target=self._work, name="fake engine", daemon=True)
        self.thread.start()

    def info(self) -> str:
        defaults = dict.fromkeys(["temperature", "top_k", "top_p", "min_p", "repetition_penalty"])
        facts = {
            "architecture": "fake", "name": "fake", "quantisation": "F32", "kind": "generate", "dimensions": 2,
            "context_length": 4096, "vocab": 256,
            "weights_bytes": 1, "kv_bytes": 1, "kv_block_tokens": 16, "threads": 1, "simd": "scalar",
            "step": None,
            "has_chat_template": True, "defaults": defaults,
        }  # fmt: skip
        return json.dumps(facts)

    def encode_chat(
        self,
        messages: bytes,
        *,
        tools: bytes | None = None,
        kwargs: bytes | None = None,
        add_generation_prompt: bool = True,
        most_tokens: int | None = None,
    ) -> FakePrompt:
        rendered = messages + (tools or b"") + (kwargs or b"") + (b">" if add_generation_prompt else b"")
        return _bounded(rendered, most_tokens)

    def encode_text(
        self, text: str, *, add_special: bool = True, parse_special: bool = False, most_tokens: int | None = None
    ) -> FakePrompt:
        if parse_special:
            raise InvalidField("The fake has no control tokens.", param="parse_special")
        return _bounded((b"\1" if add_special else b"") + text.encode(), most_tokens)

    def decode(self, tokens: Sequence[int]) -> str:
        return bytes(tokens).decode()

    def submit(self, prompt: FakePrompt, *, max_tokens: int, cache_salt: int = 0, **_sampling: object) -> int:
        self.salts.append(cache_salt)
        with self._changed:
            if self._failed is not None:
                raise EngineFailed(self._failed)
            if max_tokens < 1:
                raise InvalidField("max_tokens must be at least 1.", param="max_tokens")
            if len(self._running) >= self._max_running:
                raise QueueFull("The queue is full.")
            self._submitted += 1
            self._running[self._submitted] = _Sequence(len(prompt), max_tokens)
            self._changed.notify_all()
            return self._submitted

    def embed(self, texts: Sequence[FakePrompt], *, dimensions: int | None = None) -> int:
        """Each vector is the number of tokens, so many times."""
        with self._changed:
            if self._failed is not None:
                raise EngineFailed(self._failed)
            if len(self._running) >= self._max_running:
                raise QueueFull("The queue is full.")
            width = 2 if dimensions is None else dimensions
            packed = b"".join(struct.pack(f"<{width}f", *[len(text)] * width) for text in texts)
            self._submitted += 1
            self._running[self._submitted] = _Sequence(sum(map(len, texts)), 1, vectors=packed)
            self._changed.notify_all()
            return self._submitted

    def cancel(self, request: int) -> None:
        with self._changed:
            self._cancel(request)

    def drain(self) -> list[FakeEvent]:
        with self._changed:
            if self._events:
                os.eventfd_read(self._fd)
            self.drains += 1
            events, self._events = self._events, []
            return events

    def fileno(self) -> int:
        return self._fd

    def stats(self) -> str:
        with self._changed:
            none = dict.fromkeys(
                ["waiting", "blocks_cached", "prefill_tokens", "decode_tokens", "preemptions", "prefix_queries",
                 "prefix_hits", "last_step_age_seconds"], 0,
            )  # fmt: skip
            running = len(self._running)
            counted = {
                "running": running, "blocks_used": running, "blocks_total": self._max_running, "steps": self._steps,
                "finished": self._finished, "cancelled": self._cancelled, "failed": self._failed,
            }  # fmt: skip
            return json.dumps(none | counted)

    def close(self) -> None:
        with self._changed:
            for request in list(self._running):
                self._cancel(request)
            self._closed = True
            self._changed.notify_all()
        self.thread.join()

    def allow(self, steps: int) -> None:
        """Let the engine make more steps."""
        with self._changed:
            self._steps_left = (self._steps_left or 0) + steps
            self._changed.notify_all()

    def die(self, why: str) -> None:
        """The thread fails: everything that runs ends with an error, and nothing is accepted any more."""
        with self._changed:
            self._failed = why
            for request, sequence in self._running.items():
                self._say(FakeEvent(request=request, ending=sequence.ending("error", why)))
            self._running.clear()
            self._changed.notify_all()
        self.thread.join()

    def wait_until_idle(self, seconds: float) -> bool:
        """Whether nothing runs any more, waiting for it."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, seconds)

    def free_descriptor(self) -> None:
        """Give the eventfd back, after `close`."""
        os.close(self._fd)

    def _work(self) -> None:
        with self._changed:
            while not self._closed and self._failed is None:
                if not self._running or self._steps_left == 0:
                    self._changed.wait()
                    continue
                self._step()
                self._changed.notify_all()

    def _step(self) -> None:
        self._steps += 1
        if self._steps_left is not None:
            self._steps_left -= 1
        for request, sequence in list(self._running.items()):
            ended = sequence.made + 1 == sequence.max_tokens
            text = f"{sequence.made} "
            sequence.made += 1
            ending = sequence.ending("length") if ended else None
            self._say(FakeEvent(request=request, text=text, tokens=1, vectors=sequence.vectors, ending=ending))
            if ended:
                del self._running[request]
                self._finished += 1

    def _cancel(self, request: int) -> None:
        sequence = self._running.pop(request, None)
        if sequence is not None:
            self._cancelled += 1
            self._say(FakeEvent(request=request, ending=sequence.ending("cancelled")))
            self._changed.notify_all()

    def _say(self, event: FakeEvent) -> None:
        self._events.append(event)
        os.eventfd_write(self._fd, 1)
