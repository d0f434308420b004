"""Listing: the handlers that tell about the fleet: models, health, the whole picture; in the caller's dialect."""

from collections.abc import Callable, Sequence

from cortex.dialects import anthropic, openai_chat
from cortex.fleet.catalogue import Catalogue, resolve
from cortex.gateway.board import Board
from cortex.gateway.views import fleet_view, health_view, model_card, model_cards
from cortex.http import Request, Response, json_response

__all__ = ["Listing", "speaks_anthropic"]

_ANTHROPIC_PATHS = ("/v1/messages", "/api/event_logging")


def speaks_anthropic(request: Request) -> bool:
    """By path, and for the models by the version header."""
    return request.path.startswith(_ANTHROPIC_PATHS) or "anthropic-version" in request.headers


class Listing:
    """Answers from memory. `created` is the Unix time that lists of models give, `warnings` what an operator should
    know."""

    def __init__(
        self,
        board: Board,
        catalogue: Callable[[], Catalogue],
        *,
        created: int,
        warnings: Callable[[], Sequence[str]],
    ) -> None:
        self._board = board
        self._catalogue = catalogue
        self._created = created
        self._warnings = warnings

    async def fleet(self, _request: Request) -> Response:
        """`GET /api/fleet`."""
        view = fleet_view(self._catalogue(), self._board.fleet)
        return json_response({**view, "warnings": list(self._warnings())})

    async def health(self, _request: Request) -> Response:
        """`GET /health`, for those who may know more than that the gateway lives."""
        return json_response(health_view(self._board.fleet))

    async def models(self, request: Request) -> Response:
        """`GET /v1/models`."""
        cards = model_cards(self._catalogue(), self._board.fleet, self._created)
        encode = anthropic.encode_models if speaks_anthropic(request) else openai_chat.encode_models
        return Response(body=encode(cards))

    async def model(self, request: Request) -> Response:
        """`GET /v1/models/{id}`."""
        name, fleet = request.path_params["id"], self._board.fleet
        card = model_card(name, resolve(self._catalogue(), fleet, name), fleet, self._created)
        encode = anthropic.encode_model if speaks_anthropic(request) else openai_chat.encode_model
        return Response(body=encode(card))
