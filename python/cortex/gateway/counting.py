"""Counting: `/v1/messages/count_tokens` by the tokenizer of a host that has the model; it never loads one.

Where no host has the model loaded the answer is an estimate (four bytes a token), and the header `x-cortex-estimate`
says so.
"""

import math

import msgspec

from cortex.dialects import anthropic, openai_chat
from cortex.errors import UpstreamError
from cortex.fleet.scheduler import Serve
from cortex.gateway.board import Board
from cortex.gateway.dispatch import Dispatcher
from cortex.gateway.inference import finish
from cortex.gateway.metrics import Metrics
from cortex.gateway.neurons import NeuronClient
from cortex.http import Request, Response

__all__ = ["ESTIMATE", "Counting"]

ESTIMATE = "x-cortex-estimate"
_BYTES_PER_TOKEN = 4


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
            model = await self._dispatcher.model(asked.model)
            meter.model = model.id
            fields = _RAW.decode(openai_chat.encode_request(asked))
            prompt: dict[str, msgspec.Raw] = {name: fields[name] for name in ("messages", "tools") if name in fields}
            decision = self._dispatcher.decision(model)
            counted = None
            if isinstance(decision, Serve):
                meter.neuron = decision.host
                counted = await self._ask(decision.host, model.id, prompt)
        except BaseException as error:
            finish(meter, error)
            raise
        meter.finish("ok")
        if counted is not None:
            return Response(body=anthropic.encode_count_tokens(counted))
        size = sum(len(bytes(raw)) for raw in prompt.values())
        estimate = max(1, math.ceil(size / _BYTES_PER_TOKEN))
        return Response(body=anthropic.encode_count_tokens(estimate), headers={ESTIMATE: "true"})

    async def _ask(self, neuron: str, model: str, prompt: dict[str, msgspec.Raw]) -> int | None:
        """The host's count, None when it went away meanwhile."""
        try:
            return await self._neurons.count_tokens(self._board.fleet.hosts[neuron].endpoint, model, prompt)
        except UpstreamError:
            return None
