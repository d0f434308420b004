"""A scripted neuron: speaks the host protocol over loopback, with load times, failures, stalls and deaths to order.

It has the memory figures, revisions, events and routes of a real one and no engine; a model answers with its script.
"""

import asyncio
import struct
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from cortex.config import NeuronPeer
from cortex.dialects import head, openai_chat, openai_completions, openai_embeddings, sse
from cortex.dialects.neutral import ChatEvent, Ended, Failed, TextDelta
from cortex.errors import CortexError, InsufficientMemory, ModelBusy, ModelNotFound, PlanStale, RouteNotFound
from cortex.fleet.state import MIB
from cortex.http import App, Request, Response, Server, Stream, json_response
from cortex.protocol import (
    DeviceHealth,
    DeviceInfo,
    Discovery,
    Health,
    LoadProgress,
    LoadRequest,
    LoadResult,
    ModelEntry,
    ModelLoad,
    NeuronEvent,
    UnloadRequest,
    UnloadResult,
)
from cortex.types import FinishReason, ModelState, Usage

HOST = "127.0.0.1"
HEADERS = {"x-cortex-prompt-tokens": "7"}


class Cut(Exception):
    """Raised inside an answer: the connection breaks, as when a process dies."""


@dataclass
class Script:
    """How a model answers: `pieces`, a gate before the piece of that number, and a fault after so many pieces."""

    pieces: tuple[str, ...] = ("The capital", " of France", " is Paris.")
    says: tuple[ChatEvent, ...] | None = None  # instead of the pieces, in chats
    reason: FinishReason = FinishReason.STOP
    refuse: CortexError | None = None
    gate_at: int | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    gate_headers: bool = False
    cut_at: int | None = None
    fail_at: int | None = None
    cached: int = 2
    nonsense: bytes | None = None

    def usage(self) -> Usage:
        return Usage(prompt_tokens=7, completion_tokens=len(self.pieces), cached_tokens=self.cached)


class FakeNeuron:
    """One host. `sizes` are MB of the models it can load; `loads`, `bodies`, `cancelled` tell what happened."""

    def __init__(self, name: str, *, memory_mb: int = 100, sizes: dict[str, int] | None = None) -> None:
        self.name = name
        self.memory_mb = memory_mb
        self.sizes = sizes if sizes is not None else {"alpha": 40, "beta": 40, "gamma": 40}
        self.scripts: dict[str, Script] = {}
        self.load_gate = asyncio.Event()
        self.load_gate.set()
        self.load_error: CortexError | None = None
        self.has_events = True
        self.deaf = False
        self.counts_bytes = False
        self.max_in_flight = 0  # 0 = it does not say
        self.restarts = False
        self.called_off: list[str] = []
        self.entries: dict[str, ModelEntry] = {}
        self.loads: list[LoadRequest] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.cancelled = 0
        self.running = 0
        self.changed = asyncio.Event()
        self.revision = 1
        self.starts = 0
        self.port = 0
        self._server: Server | None = None
        self._listeners: set[asyncio.Queue[NeuronEvent]] = set()

    @property
    def endpoint(self) -> str:
        return f"http://{HOST}:{self.port}"

    def peer(self) -> NeuronPeer:
        """Its entry in a gateway's configuration."""
        return NeuronPeer(name=self.name, endpoint=self.endpoint)

    def script(self, model: str) -> Script:
        return self.scripts.setdefault(model, Script())

    async def start(self) -> None:
        """Listen, at the same port as before when it comes back."""
        self.starts += 1
        self._server = Server(self._app(), HOST, self.port, drain_seconds=0.0)
        await self._server.start()
        self.port = self._server.port

    async def die(self) -> None:
        """Break every connection, listen no more, forget all models."""
        server, self._server = self._server, None
        self.entries.clear()
        if server is not None:
            await server.stop()

    def hold(self, model: str, *, gate_at: int = 1) -> asyncio.Event:
        """Make the model's answers pause before that piece until the event is set."""
        script = self.script(model)
        script.gate_at = gate_at
        return script.gate

    def put(self, model: str, *, status: ModelState = ModelState.LOADED, last_used: float = 1.0, **more: Any) -> None:
        """Have a model, loaded or in another state."""
        self._set(self._entry(model, status, last_used=last_used, **more))

    async def until(self, condition: Any) -> None:
        """Until something that this neuron counts is so."""
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    def _notice(self) -> None:
        self.changed.set()

    def _entry(self, model: str, status: ModelState, **more: Any) -> ModelEntry:
        loaded = {"loaded_at": 1.0, "context_length": 4096} if status is ModelState.LOADED else {}
        return ModelEntry(
            id=model, status=status, devices=(0,), bytes=self.sizes.get(model, 0) * MIB, **{**loaded, **more}
        )

    def _set(self, entry: ModelEntry) -> None:
        if entry.status is ModelState.ABSENT:
            self.entries.pop(entry.id, None)
        else:
            self.entries[entry.id] = entry
        self.revision += 1
        event = NeuronEvent(
            kind="model", epoch=self._epoch, revision=self.revision, models=(entry,), health=self.health()
        )
        for listener in self._listeners:
            listener.put_nowait(event)
        self._notice()

    @property
    def _epoch(self) -> str:
        return f"{self.name}-{self.starts}"

    @property
    def used_mb(self) -> int:
        return sum(entry.bytes // MIB for entry in self.entries.values() if entry.status is ModelState.LOADED)

    def health(self) -> Health:
        device = DeviceHealth(index=0, vram_used_mb=self.used_mb, vram_free_mb=self.memory_mb - self.used_mb)
        return Health(
            status="ok",
            uptime_secs=1.0,
            epoch=self._epoch,
            revision=self.revision,
            devices=(device,),
            models=tuple(self._figures()),
        )

    def _figures(self) -> Iterator[ModelLoad]:
        for entry in self.entries.values():
            if self.max_in_flight and entry.status is ModelState.LOADED:
                yield ModelLoad(id=entry.id, in_flight=0, max_in_flight=self.max_in_flight, max_queue_depth=0)

    def _app(self) -> App:
        app = App(self.name, on_error=_error)

        @app.get("/discovery")
        async def discovery(_request: Request) -> Response:
            device = DeviceInfo(index=0, name="fake", vram_total_mb=self.memory_mb)
            found = Discovery(
                hostname=self.name, os="Linux", kernel="6", epoch=self._epoch, version="0.1", devices=(device,)
            )
            return json_response(found)

        @app.get("/health")
        async def health(_request: Request) -> Response:
            return json_response(self.health())

        @app.get("/models")
        async def models(_request: Request) -> Response:
            if self.deaf:
                return Response(body=b"<html>", media_type="text/html")
            return json_response(list(self.entries.values()))

        @app.get("/events")
        async def events(_request: Request) -> Stream:
            if not self.has_events:
                raise RouteNotFound("no such path")
            return Stream(self._events())

        app.post("/models/load")(self._load)
        app.post("/models/unload")(self._unload)
        if self.restarts:
            app.post("/restart")(self._restart)
        app.post("/tokenize")(self._tokenize)
        app.post("/v1/chat/completions")(self._chat)
        app.post("/v1/completions")(self._completions)
        app.post("/v1/embeddings")(self._embeddings)
        return app

    async def _events(self) -> AsyncGenerator[bytes, None]:
        queue: asyncio.Queue[NeuronEvent] = asyncio.Queue(1000)
        self._listeners.add(queue)
        try:
            entries = tuple(self.entries.values())
            now = {"epoch": self._epoch, "revision": self.revision, "health": self.health()}
            snapshot = NeuronEvent(kind="snapshot", models=entries, **now)
            yield sse.encode(msgspec.json.encode(snapshot))
            while True:
                yield sse.encode(msgspec.json.encode(await queue.get()))
        finally:
            self._listeners.discard(queue)

    async def _load(self, request: Request) -> Response:
        asked = msgspec.json.decode(request.body, type=LoadRequest)
        self.loads.append(asked)
        self._notice()
        if asked.epoch is not None and (asked.epoch, asked.revision) != (self._epoch, self.revision):
            raise PlanStale("the plan is older than the host", extras={"revision": self.revision})
        for victim in asked.evict:
            self._set(ModelEntry(id=victim, status=ModelState.ABSENT))
        needed, free = self.sizes.get(asked.model_id, 0), self.memory_mb - self.used_mb
        if needed > free:
            numbers = {"needed_bytes": needed * MIB, "free_bytes": free * MIB}
            raise InsufficientMemory("not enough memory", extras=numbers)
        progress = LoadProgress(stage="weights", done_bytes=25, total_bytes=100, eta_seconds=3.0)
        self._set(self._entry(asked.model_id, ModelState.LOADING, progress=progress))
        await self.load_gate.wait()
        if self.load_error is not None:
            told = self.load_error
            failed = self._entry(asked.model_id, ModelState.FAILED, error=told.message, error_code=told.code)
            self._set(failed)
            raise told
        self._set(self._entry(asked.model_id, ModelState.LOADED))
        result = LoadResult(status=ModelState.LOADED, model_id=asked.model_id, revision=self.revision)
        return json_response(result)

    def progress(self, model: str, done: int) -> None:
        """Say how far its load is."""
        told = LoadProgress(stage="weights", done_bytes=done, total_bytes=100)
        self._set(self._entry(model, ModelState.LOADING, progress=told))

    async def _restart(self, _request: Request) -> Response:
        self.starts += 1
        self.entries.clear()
        for listener in self._listeners:
            listener.put_nowait(NeuronEvent(kind="snapshot", epoch=self._epoch, revision=1, health=self.health()))
        return json_response({"status": "restarting"}, status=202)

    async def _unload(self, request: Request) -> Response:
        asked = msgspec.json.decode(request.body, type=UnloadRequest)
        if (entry := self.entries.get(asked.model_id)) is not None and entry.status is ModelState.LOADING:
            self.called_off.append(asked.model_id)
            self._set(ModelEntry(id=asked.model_id, status=ModelState.ABSENT))
            return json_response(UnloadResult(status="unloaded", model_id=asked.model_id, revision=self.revision))
        self._loaded(asked.model_id)
        if self.running:
            raise ModelBusy(f"{asked.model_id} is still in use", extras={"in_flight": self.running})
        self._set(ModelEntry(id=asked.model_id, status=ModelState.ABSENT))
        return json_response(UnloadResult(status="unloaded", model_id=asked.model_id, revision=self.revision))

    async def _tokenize(self, request: Request) -> Response:
        if self.deaf:
            raise Cut
        asked = msgspec.json.decode(request.body)
        self.bodies.append(request.body)
        self._loaded(asked["model"])
        if self.counts_bytes:
            return json_response({"count": len(request.body)})
        return json_response({"count": 11 + 100 * len(asked.get("tools", []))})

    async def _chat(self, request: Request) -> Response | Stream:
        asked = openai_chat.decode_request(request.body)
        script = await self._admit(request, asked.model)
        if script.nonsense is not None:
            return Response(body=script.nonsense, media_type="text/html")
        said = script.says if script.says is not None else tuple(map(TextDelta, script.pieces))
        events = [*said, Ended(script.reason, script.usage())]
        if not asked.stream:
            await self._run(script, None)
            body = openai_chat.encode_response(events, id="chatcmpl-1", model=asked.model, created=1)
            return Response(body=body, headers=HEADERS)
        encoder = openai_chat.StreamEncoder(
            id="chatcmpl-1", model=asked.model, created=1, include_usage=asked.include_usage
        )
        return Stream(self._stream(script, encoder, events), headers=HEADERS)

    async def _completions(self, request: Request) -> Response | Stream:
        asked = openai_completions.decode_request(request.body)
        script = await self._admit(request, head.peek(request.body).model)
        events = [*(TextDelta(piece) for piece in script.pieces), Ended(FinishReason.STOP, script.usage())]
        if not asked.stream:
            await self._run(script, None)
            return Response(body=openai_completions.encode_response([events], id="cmpl-1", model="m", created=1))
        encoder = openai_completions.StreamEncoder(id="cmpl-1", model="m", created=1, include_usage=asked.include_usage)
        return Stream(self._stream(script, encoder, events), headers=HEADERS)

    async def _embeddings(self, request: Request) -> Response:
        asked = openai_embeddings.decode_request(request.body)
        script = await self._admit(request, asked.model)
        await self._run(script, None)
        if script.nonsense is not None:
            return Response(body=script.nonsense)
        items = [
            openai_embeddings.encode_item(struct.pack("<2f", 0.6, 0.8), index=index, base64_=asked.base64)
            for index in range(len(asked.inputs))
        ]
        return Response(body=openai_embeddings.encode_response(items, model=asked.model, usage=script.usage()))

    async def _admit(self, request: Request, model: str) -> Script:
        self.bodies.append(request.body)
        self.headers.append(request.headers)
        self._notice()
        self._loaded(model)
        script = self.script(model)
        if script.refuse is not None:
            raise script.refuse
        if script.gate_headers:
            await self._run(script, 0)
        return script

    def _loaded(self, model: str) -> None:
        entry = self.entries.get(model)
        if entry is None or entry.status is not ModelState.LOADED:
            raise ModelNotFound(f"{model} is not loaded")

    async def _run(self, script: Script, at: int | None) -> None:
        """Generate piece `at` (all of them with None): pause, fault, or nothing."""
        self.running += 1
        self._notice()
        try:
            if script.gate_at is not None and at in (script.gate_at, None):
                await script.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
            self._notice()
        if script.cut_at is not None and at in (script.cut_at, None):
            raise Cut

    async def _stream(self, script: Script, encoder: Any, events: list[ChatEvent]) -> AsyncGenerator[bytes, None]:
        for at, event in enumerate(events):
            await self._run(script, at)
            if at == script.fail_at:
                event = Failed(script.refuse or CortexError("secret detail of the host"))
            data = encoder.event(event)
            if data:
                yield data
            if isinstance(event, Failed):
                return


def _error(_request: Request, error: CortexError) -> Response:
    return Response(status=error.status, body=openai_chat.encode_error(error))
