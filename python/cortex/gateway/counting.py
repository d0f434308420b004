"""Counting: tokens of prompts, `/tokenize` and `/detokenize`, by a host that has the model; none is loaded for it.

Where no host has the model loaded a count is an estimate (four bytes a token), and the header `x-cortex-estimate`
says so.
"""

import math

import msgspec

from cortex.dialects import anthropic, head, openai_chat
from cortex.dialects.neutral import ChatRequest
from cortex.dialects.shortening import shortened
from cortex.errors import CortexError, ServiceUnavailable, UpstreamError
from cortex.fleet.scheduler import Serve
from cortex.gateway.board import Board
from cortex.gateway.dispatch import Dispatcher
from cortex.gateway.inference import finish
from cortex.gateway.metrics import Meter, Metrics
from cortex.gateway.neurons import NeuronClient
from cortex.http import Request, Response

__all__ = ["ESTIMATE", "Counting"]

ESTIMATE = "x-cortex-estimate"
_BYTES_PER_TOKEN = 4
_ANSWER_SHARE = 4  # so much of the context is left for the answer, at most
_ROUNDS = 4


_RAW = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Counting:
    """Counts prompts."""

    def __init__(self, board: Board, dispatcher: Dispatcher, neurons: NeuronClient, metrics: Metrics) -> None:
        self._board = board
        self._dispatcher = dispatcher
        self._neurons = neurons
        self._metrics = metrics

    async def count(self, request: Request, signing_key: bytes) -> Response:
        """`POST /v1/messages/count_tokens`."""
        meter = self._metrics.begin("count_tokens")
        try:
            asked = anthropic.decode_count_tokens(request.body, signing_key=signing_key)
            counted, headers = await self.counted(asked, meter)
        except BaseException as error:
            finish(meter, error)
            raise
        meter.finish("ok")
        return Response(body=anthropic.encode_count_tokens(counted), headers=headers)

    async def counted(self, asked: ChatRequest, meter: Meter) -> tuple[int, dict[str, str]]:
        """The tokens of the prompt, and the header that says whether they were guessed. Raises ModelNotFound."""
        model = await self._dispatcher.model(asked.model)
        meter.model = model.id
        fields = _RAW.decode(openai_chat.encode_request(asked))
        prompt: dict[str, msgspec.Raw] = {name: fields[name] for name in ("messages", "tools") if name in fields}
        decision = self._dispatcher.decision(model)
        if isinstance(decision, Serve):
            meter.neuron = decision.host
            counted = await self._ask(decision.host, model.id, prompt)
            if counted is not None:
                return counted, {}
        size = sum(len(bytes(raw)) for raw in prompt.values())
        return max(1, math.ceil(size / _BYTES_PER_TOKEN)), {ESTIMATE: "true"}

    async def fitted(self, asked: ChatRequest, meter: Meter) -> ChatRequest:
        """The request, without its oldest turns where it would not fit the model's context with room for an answer.
        As it is where nobody knows the context."""
        model = await self._dispatcher.model(asked.model)
        entries = [host.models[model.id] for host in self._board.fleet.having(model.id)]
        window = min((entry.context_length for entry in entries if entry.context_length), default=None)
        if window is None:
            return asked
        room = window - min(asked.max_tokens or window, window // _ANSWER_SHARE)
        for _ in range(_ROUNDS):
            tokens, _ = await self.counted(asked, meter)
            if tokens <= room:
                break
            fewer = shortened(asked.messages, 1 - room / tokens)
            if fewer == asked.messages:
                break
            asked = msgspec.structs.replace(asked, messages=fewer)
        return asked

    async def tokens(self, request: Request) -> Response:
        """`POST /tokenize` and `/detokenize`, by a host that has the model."""
        meter = self._metrics.begin("tokenize")
        try:
            model = await self._dispatcher.model(head.peek(request.body).model)
            meter.model = model.id
            decision = self._dispatcher.decision(model)
            if not isinstance(decision, Serve):
                raise ServiceUnavailable(f"No host has {model.id} loaded, and tokens are no reason to load it.")
            meter.neuron = decision.host
            endpoint = self._board.fleet.hosts[decision.host].endpoint
            answer = await self._neurons.tokens(endpoint, request.path, head.replace_model(request.body, model.id))
        except BaseException as error:
            finish(meter, error)
            raise
        meter.finish("ok")
        return Response(body=answer)

    async def _ask(self, neuron: str, model: str, prompt: dict[str, msgspec.Raw]) -> int | None:
        """The host's count; None when it went away meanwhile, or is not ours and does not count as ours do."""
        host = self._board.fleet.hosts[neuron]
        try:
            return await self._neurons.count_tokens(host.endpoint, model, prompt)
        except CortexError as error:
            if host.ours and not isinstance(error, UpstreamError):
                raise
            return None
