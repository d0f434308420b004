"""Embedding: the handler of `/v1/embeddings`.

One request: 1. it is decoded; 2. the model is leased, and has to be one that embeds; 3. its texts are tokenised;
4. a place is taken; 5. the engine makes the vectors; 6. they go out as numbers or in base64. Long work on the event
loop is done in portions. Every ending is metered once.
"""

import asyncio
from contextlib import ExitStack

from cortex.dialects import openai_embeddings
from cortex.dialects.openai_embeddings import EmbeddingRequest, Input
from cortex.engine import Embedded
from cortex.errors import ContextLengthExceeded, CortexError, ShuttingDown
from cortex.http import Request, Response
from cortex.neuron.engines import Engine, Prompt
from cortex.neuron.kinds import require_embedder
from cortex.neuron.metrics import Meter, Metrics
from cortex.neuron.models import Models
from cortex.types import Usage

__all__ = ["Embedding"]

IGNORED = "x-cortex-ignored"
_PORTION = 32  # texts or vectors that are worked on before others get their turn


class Embedding:
    """The handler; `draining` refuses new requests."""

    def __init__(self, models: Models, metrics: Metrics) -> None:
        self._models = models
        self._metrics = metrics
        self._running: set[asyncio.Future[Embedded]] = set()
        self.draining = False

    async def embeddings(self, request: Request) -> Response:
        """`POST /v1/embeddings`."""
        meter = self._metrics.begin("embeddings", request.id)
        try:
            with ExitStack() as held:
                response = await self._serve(request, meter, held)
        except BaseException as error:
            meter.finish(_outcome(error))
            raise
        meter.finish("ok")
        return response

    def interrupt(self) -> None:
        """End every request now."""
        for running in self._running:
            running.cancel()

    async def _serve(self, request: Request, meter: Meter, held: ExitStack) -> Response:
        if self.draining:
            raise ShuttingDown("This host is shutting down.")
        asked = openai_embeddings.decode_request(request.body)  # 1.
        model, serving = self._models.serving(asked.model)
        meter.model = model.id
        held.enter_context(self._models.lease(model))
        engine = serving.engine
        require_embedder(engine, model.id)  # 2.
        texts = await _tokenised(engine, asked.inputs)  # 3.
        (place,) = serving.admission.ask()
        held.callback(place.leave)
        await place.wait()  # 4.
        made = await self._embedded(engine, texts, asked.dimensions)  # 5.
        usage = Usage(prompt_tokens=made.prompt_tokens)
        meter.sequence(usage, queue_seconds=made.queue_seconds)
        headers = {IGNORED: ", ".join(asked.ignored)} if asked.ignored else {}
        return Response(body=await _encoded(asked, made, usage), headers=headers)  # 6.

    async def _embedded(self, engine: Engine, texts: list[Prompt], dimensions: int | None) -> Embedded:
        """The vectors; a drain that is over ends them, and the request with them."""
        running = asyncio.ensure_future(engine.embed(texts, dimensions=dimensions))
        self._running.add(running)
        try:
            await asyncio.wait([running])
        finally:
            self._running.discard(running)
            running.cancel()
        if running.cancelled():
            raise ShuttingDown("This host is shutting down.")
        return running.result()


async def _tokenised(engine: Engine, inputs: tuple[Input, ...]) -> list[Prompt]:
    """Every input as tokens, with those that the model wants around a text. Raises InvalidField,
    ContextLengthExceeded."""
    texts: list[Prompt] = []
    limit = engine.facts.context_length
    for index, given in enumerate(inputs):
        if index % _PORTION == _PORTION - 1:
            await asyncio.sleep(0)
        try:
            text = (
                await engine.encode_text(given, most_tokens=limit) if isinstance(given, str) else engine.prompt(given)
            )
        except ContextLengthExceeded as exc:
            raise ContextLengthExceeded(
                f"Input {index}: {exc.message}", param="input", extras={**exc.extras, "input": index}
            ) from exc
        texts.append(text)
    return texts


async def _encoded(asked: EmbeddingRequest, made: Embedded, usage: Usage) -> bytes:
    items: list[bytes] = []
    for index, vector in enumerate(made.vectors):
        if index % _PORTION == _PORTION - 1:
            await asyncio.sleep(0)
        items.append(openai_embeddings.encode_item(vector, index=index, base64_=asked.base64))
    return openai_embeddings.encode_response(items, model=asked.model, usage=usage)


def _outcome(error: BaseException) -> str:
    if isinstance(error, CortexError):
        return error.code
    return "cancelled" if isinstance(error, asyncio.CancelledError) else "internal_error"
