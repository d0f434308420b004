"""Routes: paths to handlers, and errors in the dialect that a path speaks."""

from cortex.dialects import anthropic, openai_chat
from cortex.errors import CortexError
from cortex.fleet.catalogue import Catalogue, resolve
from cortex.gateway.access import private_only
from cortex.gateway.board import Board
from cortex.gateway.counting import Counting
from cortex.gateway.inference import Inference
from cortex.gateway.responses import Responses
from cortex.gateway.views import fleet_view, health_view, model_card, model_cards
from cortex.http import App, Request, Response, json_response

__all__ = ["error_style", "register"]

_ANTHROPIC_PATHS = ("/v1/messages", "/api/event_logging")


def error_style(request: Request, error: CortexError) -> Response:
    """An error in the caller's dialect: by path, and for the models by the version header."""
    if _speaks_anthropic(request):
        return Response(status=anthropic.status_of(error), body=anthropic.encode_error(error, request.id))
    return Response(status=error.status, body=openai_chat.encode_error(error, request.id))


def _speaks_anthropic(request: Request) -> bool:
    return request.path.startswith(_ANTHROPIC_PATHS) or "anthropic-version" in request.headers


def register(
    app: App,
    *,
    board: Board,
    catalogue: Catalogue,
    inference: Inference,
    responses: Responses,
    counting: Counting,
    created: int,
) -> None:
    """All routes of the gateway. `created` is the Unix time that lists of models give."""
    app.before(private_only)
    _register_generation(app, inference, responses, counting)

    @app.post("/api/event_logging/batch")
    async def event_logging(_request: Request) -> Response:
        return json_response({})

    @app.get("/api/fleet")
    async def fleet(_request: Request) -> Response:
        return json_response(fleet_view(catalogue, board.fleet))

    @app.get("/")
    @app.get("/health")
    async def health(_request: Request) -> Response:
        return json_response(health_view(board.fleet))

    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        cards = model_cards(catalogue, board.fleet, created)
        encode = anthropic.encode_models if _speaks_anthropic(request) else openai_chat.encode_models
        return Response(body=encode(cards))

    @app.get("/v1/models/*id")
    async def model(request: Request) -> Response:
        name = request.path_params["id"]
        card = model_card(name, resolve(catalogue, board.fleet, name), board.fleet, created)
        encode = anthropic.encode_model if _speaks_anthropic(request) else openai_chat.encode_model
        return Response(body=encode(card))


def _register_generation(app: App, inference: Inference, responses: Responses, counting: Counting) -> None:
    app.post("/v1/chat/completions")(inference.chat)
    app.post("/v1/completions")(inference.completions)
    app.post("/v1/messages")(inference.messages)
    app.post("/v1/responses")(responses.create)
    app.get("/v1/responses/:id")(responses.retrieve)
    app.delete("/v1/responses/:id")(responses.delete)
    app.get("/v1/responses/:id/input_items")(responses.input_items)

    @app.post("/v1/messages/count_tokens")
    async def count_tokens(request: Request) -> Response:
        return await counting.count(request, inference.signing_key)
