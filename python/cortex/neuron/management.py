"""Management: the handlers that tell about this host and its models, and those that load and unload."""

import msgspec

from cortex.dialects import openai_chat
from cortex.dialects.body import parse_body
from cortex.dialects.model_card import ModelCard
from cortex.http import Request, Response, Stream, json_response
from cortex.http.metrics import exposition
from cortex.neuron.host import Host
from cortex.neuron.models import Model
from cortex.protocol import LoadRequest, UnloadRequest
from cortex.types import ModelState

__all__ = ["Management"]

_LOAD = msgspec.json.Decoder(LoadRequest)
_UNLOAD = msgspec.json.Decoder(UnloadRequest)
_ACCEPTED = 202


class Management:
    """Reads are answered from memory: they wait for no engine, no device and no load."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def discovery(self, _request: Request) -> Response:
        """What this host is."""
        return json_response(self._host.discovery)

    async def health(self, _request: Request) -> Response:
        """Liveness and live figures; always 200, since it was answered."""
        return json_response(self._host.status.health())

    async def ready(self, _request: Request) -> Response:
        """Readiness: 503 while this host drains or an engine does not step."""
        word = self._host.status.health().status
        return json_response({"status": word}, status=200 if word == "ok" else 503)

    async def version(self, _request: Request) -> Response:
        """What runs here."""
        return json_response(self._host.version)

    async def models(self, _request: Request) -> Response:
        """All models in whatever state, by name."""
        return json_response([model.entry() for model in self._host.models])

    async def model(self, request: Request) -> Response:
        """One model."""
        return json_response(self._host.models.find(request.path_params["id"]).entry())

    async def endpoint(self, request: Request) -> Response:
        """Where a model is served: here."""
        self._host.models.find(request.path_params["id"])
        return json_response({"url": self._host.url()})

    async def load(self, request: Request) -> Response:
        """200 once the model is loaded, 202 while it is on its way and the caller does not wait."""
        result = await self._host.loads.load(parse_body(_LOAD, request.body))
        return json_response(result, status=200 if result.status is ModelState.LOADED else _ACCEPTED)

    async def unload(self, request: Request) -> Response:
        """200 once the model is gone."""
        return json_response(await self._host.unload(parse_body(_UNLOAD, request.body)))

    async def events(self, _request: Request) -> Stream:
        """What happens here, as it happens."""
        return Stream(self._host.events.stream())

    async def metrics(self, _request: Request) -> Response:
        """The counters, for Prometheus."""
        self._host.metrics.figures = self._host.status.figures()
        return await exposition(self._host.metrics.registry)

    async def cards(self, _request: Request) -> Response:
        """The loaded models in OpenAI's words."""
        loaded = [model for model in self._host.models if model.state is ModelState.LOADED]
        return Response(body=openai_chat.encode_models([_card(model) for model in loaded]))

    async def card(self, request: Request) -> Response:
        """One model in OpenAI's words."""
        return Response(body=openai_chat.encode_model(_card(self._host.models.find(request.path_params["id"]))))


def _card(model: Model) -> ModelCard:
    entry = model.entry()
    return ModelCard(
        id=model.id,
        created=int(model.loaded_at or 0),
        context_length=entry.context_length,
        extra={"status": entry.status.value, "capabilities": list(entry.capabilities)},
    )
