"""AsyncEngine: one loaded model on an event loop. Events come by one descriptor, and each request has its stream."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from cortex import _native
from cortex.engine.embedded import Embedded, embedded
from cortex.engine.facts import EngineStats, EngineTimings, ModelFacts
from cortex.engine.loading import OnProgress, load_native
from cortex.engine.options import EngineSampling, LoadOptions
from cortex.engine.own_thread import in_own_thread
from cortex.engine.stream import Stream
from cortex.errors import EngineFailed

__all__ = ["AsyncEngine"]

_INLINE_BYTES = 4096  # shorter texts are tokenised at once: that takes less time than a change of thread

T = TypeVar("T")


class AsyncEngine:
    """Belongs to the event loop that made it; every method is called there."""

    def __init__(self, native: _native.Engine) -> None:
        self._native = native
        self._loop = asyncio.get_running_loop()
        self._streams: dict[int, Stream] = {}
        self._closing: asyncio.Task[None] | None = None
        self.facts = msgspec.json.decode(native.info(), type=ModelFacts)
        self._loop.add_reader(native.fileno(), self._deliver)

    @classmethod
    async def load(
        cls, path: Path, options: LoadOptions | None = None, *, on_progress: OnProgress | None = None
    ) -> "AsyncEngine":
        """Load the model at a path and start its engine. Cancelling this cancels the load and frees what it had.

        Raises SourceNotFound, ModelFileInvalid, UnsupportedModel, InvalidField, EngineFailed.
        """
        return cls(await load_native(path, options or LoadOptions(), on_progress))

    async def encode_chat(
        self,
        messages: bytes,
        *,
        tools: bytes | None = None,
        kwargs: bytes | None = None,
        add_generation_prompt: bool = True,
        most_tokens: int | None = None,
    ) -> _native.Prompt:
        """Render the model's template over JSON and tokenise. Users' text never becomes a control token.

        A text that cannot have as few as `most_tokens` is refused at once; one that comes out longer is not.
        Raises TemplateFailed, ContextLengthExceeded.
        """

        def encode() -> _native.Prompt:
            return self._native.encode_chat(
                messages,
                tools=tools,
                kwargs=kwargs,
                add_generation_prompt=add_generation_prompt,
                most_tokens=most_tokens,
            )

        return await self._run(encode, len(messages) + len(tools or b""))

    async def encode_text(
        self, text: str, *, add_special: bool = True, most_tokens: int | None = None
    ) -> _native.Prompt:
        """Tokenise plain text; `add_special` puts what the tokenizer wants before and after it, and `most_tokens` is as
        for a chat. Raises InvalidField, ContextLengthExceeded."""

        def encode() -> _native.Prompt:
            return self._native.encode_text(text, add_special=add_special, most_tokens=most_tokens)

        return await self._run(encode, len(text))

    def prompt(self, tokens: Sequence[int]) -> _native.Prompt:
        """A prompt of token ids."""
        return _native.Prompt(tokens)

    async def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, control tokens left out."""
        return await self._run(lambda: self._native.decode(tokens), len(tokens))

    async def compile(self, kind: str, text: str) -> _native.Grammar:
        """Make a grammar ready for `generate`, in a thread; `kind` is json_schema, regex, choice (a JSON list) or lark.

        Raises InvalidField with the reason, QueueFull, EngineFailed.
        """
        return await asyncio.to_thread(self._native.compile, kind, text)

    async def generate(self, prompt: _native.Prompt, sampling: EngineSampling) -> AsyncGenerator[_native.Event, None]:
        """What the engine generates, step by step; the last event has the ending. Leaving the loop early, closing the
        generator or cancelling its task ends the request within one step.

        Raises QueueFull, ContextLengthExceeded, InvalidField, EngineFailed.
        """
        if self._closing is not None:
            raise EngineFailed("The model was unloaded.")
        request = self._native.submit(prompt, **msgspec.structs.asdict(sampling))
        stream = self._streams[request] = Stream()
        try:
            while not stream.ended:
                yield await stream.next()
        finally:
            del self._streams[request]
            if not stream.ended:
                self._native.cancel(request)

    async def embed(self, texts: Sequence[_native.Prompt], *, dimensions: int | None = None) -> Embedded:
        """The vectors of texts, each of length 1; with `dimensions`, of so many values at the front of each.
        Cancelling this ends the request within one layer.

        Raises QueueFull, ContextLengthExceeded, InvalidField, EngineFailed.
        """
        if self._closing is not None:
            raise EngineFailed("The model was unloaded.")
        request = self._native.embed(texts, dimensions=dimensions)
        stream = self._streams[request] = Stream()
        try:
            event = await stream.next()
        finally:
            del self._streams[request]
            if not stream.ended:
                self._native.cancel(request)
        return embedded(event, dimensions or self.facts.dimensions or 0)

    def stats(self) -> EngineStats:
        """Counters and state."""
        return msgspec.json.decode(self._native.stats(), type=EngineStats)

    def timings(self) -> EngineTimings:
        """How long requests, tokens and steps took since the load."""
        return msgspec.json.decode(self._native.timings(), type=EngineTimings)

    async def close(self) -> None:
        """End what runs (reason cancelled), stop the engine's thread and free the memory. May be called again."""
        if self._closing is None:
            self._closing = self._loop.create_task(self._close(), name="close the engine")
        await asyncio.shield(self._closing)

    def abandon(self, reason: str) -> None:
        """Give up an engine whose thread does not come back: every request ends now with EngineFailed, nothing more is
        accepted, and `close` returns once the thread has ended and its memory is free, if it ever does."""
        if self._closing is None:
            self._closing = self._loop.create_task(self._close(), name="close the engine")
        for stream in self._streams.values():
            stream.fail(EngineFailed(reason))

    async def _close(self) -> None:
        try:
            await in_own_thread(self._native.close, name="close the engine")
        finally:
            self._loop.remove_reader(self._native.fileno())
            self._deliver()
            for stream in self._streams.values():
                stream.fail(EngineFailed("The model was unloaded."))

    async def _run(self, work: Callable[[], T], size: int) -> T:
        return work() if size < _INLINE_BYTES else await asyncio.to_thread(work)

    def _deliver(self) -> None:
        """Give the events to those who wait; what nobody waits for belongs to requests that were left."""
        for event in self._native.drain():
            with contextlib.suppress(KeyError):
                self._streams[event.request].put(event)
