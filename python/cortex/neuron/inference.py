"""Inference: the handlers of the generating routes.

One request: 1. it is decoded, and what the model cannot honour is refused (`preparing`); 2. the model is leased from
here to the last byte; 3. a place is taken before anything is sent, so that a refusal is a clean status; 4. the
sequences run; 5. the answer goes out, whole or streamed. Every ending is metered once.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial

from cortex.dialects.neutral import ChatEvent, Failed
from cortex.errors import CortexError, ShuttingDown
from cortex.http import Request, Response, Stream
from cortex.neuron.answers import Answer, StreamedAnswer
from cortex.neuron.completing import prepare_completion
from cortex.neuron.kinds import require_generator
from cortex.neuron.metrics import Meter, Metrics
from cortex.neuron.models import Models, Serving
from cortex.neuron.preparing import Lease, Prepared, prepare_chat, prepare_messages
from cortex.neuron.responding import prepare_responses
from cortex.neuron.tenancy import take_salt

__all__ = ["Inference"]

PROMPT_TOKENS = "x-cortex-prompt-tokens"
IGNORED = "x-cortex-ignored"
Prepare = Callable[[bytes, Lease, Meter], Awaitable[Prepared]]


class Inference:
    """Handlers for the generating routes; `draining` refuses new requests."""

    def __init__(self, models: Models, metrics: Metrics, *, keep_alive_seconds: float) -> None:
        self._models = models
        self._metrics = metrics
        self._keep_alive = keep_alive_seconds
        self._answers: set[Answer] = set()
        self.signing_key = secrets.token_bytes(32)  # thinking signed by an earlier process is dropped, never refused
        self.draining = False

    async def chat(self, request: Request) -> Response | Stream:
        """`POST /v1/chat/completions`."""
        return await self._serve(request, "chat", prepare_chat)

    async def completions(self, request: Request) -> Response | Stream:
        """`POST /v1/completions`."""
        return await self._serve(request, "completions", prepare_completion)

    async def messages(self, request: Request) -> Response | Stream:
        """`POST /v1/messages`."""
        return await self._serve(request, "messages", partial(prepare_messages, signing_key=self.signing_key))

    async def responses(self, request: Request) -> Response | Stream:
        """`POST /v1/responses`."""
        return await self._serve(request, "responses", partial(prepare_responses, signing_key=self.signing_key))

    def interrupt(self) -> None:
        """End every generation now; each answer says so in its own words."""
        for answer in self._answers:
            answer.interrupt()

    async def _serve(self, request: Request, route: str, prepare: Prepare) -> Response | Stream:
        take_salt(request.headers)
        meter = self._metrics.begin(route, request.id)
        held = ExitStack()

        def lease(name: str) -> Serving:
            model, serving = self._models.serving(name)
            meter.model = model.id
            held.enter_context(self._models.lease(model))
            require_generator(serving.engine, model.id)
            return serving

        try:
            if self.draining:
                raise ShuttingDown("This host is shutting down.")
            prepared = await prepare(request.body, lease, meter)  # 1. and 2.
            places = prepared.serving.admission.ask(len(prepared.starts))  # 3.
            for place in places:
                held.callback(place.leave)
            await places[0].wait()
        except BaseException as error:
            meter.finish(_outcome(error))
            held.close()
            raise
        answer = Answer(prepared.starts, places, held, meter)  # 4.
        self._answers.add(answer)
        held.callback(self._answers.discard, answer)
        headers = {PROMPT_TOKENS: str(prepared.prompt_tokens)}
        if prepared.ignored:
            headers[IGNORED] = ", ".join(prepared.ignored)
        if prepared.encoder is not None:  # 5.
            return Stream(
                StreamedAnswer(answer, prepared.encoder, keep_alive_seconds=self._keep_alive), headers=headers
            )
        return Response(body=await _whole(answer, prepared), headers=headers)


async def _whole(answer: Answer, prepared: Prepared) -> bytes:
    """The body once all sequences have ended. Raises the failure of one that has failed."""
    sequences: list[list[ChatEvent]] = [[] for _ in prepared.starts]
    try:
        while not answer.over:
            for index, event in await answer.next():
                if isinstance(event, Failed):
                    raise event.error
                sequences[index].append(event)
    finally:
        await answer.close("ok" if answer.over else "cancelled")
    return prepared.whole(sequences)


def _outcome(error: BaseException) -> str:
    if isinstance(error, CortexError):
        return error.code
    return "cancelled" if isinstance(error, asyncio.CancelledError) else "internal_error"
