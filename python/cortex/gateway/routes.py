"""Routes: paths to handlers, and errors in the dialect that a path speaks."""

from cortex.dialects import anthropic, openai_chat
from cortex.errors import CortexError
from cortex.gateway.access import Access
from cortex.gateway.admin import Admin
from cortex.gateway.counting import Counting
from cortex.gateway.inference import Inference
from cortex.gateway.listing import Listing, speaks_anthropic
from cortex.gateway.responses import Responses
from cortex.http import App, Request, Response, json_response

__all__ = ["error_style", "register"]


def error_style(request: Request, error: CortexError) -> Response:
    """An error in the caller's dialect: by path, and for the models by the version header."""
    if speaks_anthropic(request):
        return Response(status=anthropic.status_of(error), body=anthropic.encode_error(error, request.id))
    return Response(status=error.status, body=openai_chat.encode_error(error, request.id))


def register(
    app: App,
    *,
    access: Access,
    inference: Inference,
    responses: Responses,
    counting: Counting,
    listing: Listing,
    admin: Admin,
) -> None:
    """All routes of the gateway."""
    app.before(access.admit)
    app.post("/v1/chat/completions")(inference.chat)
    app.post("/v1/completions")(inference.completions)
    app.post("/v1/embeddings")(inference.embeddings)
    app.post("/v1/messages")(inference.messages)
    app.post("/v1/responses")(responses.create)
    app.post("/v1/responses/input_tokens")(responses.input_tokens)
    app.get("/v1/responses/:id")(responses.retrieve)
    app.delete("/v1/responses/:id")(responses.delete)
    app.get("/v1/responses/:id/input_items")(responses.input_items)

    @app.post("/v1/messages/count_tokens")
    async def count_tokens(request: Request) -> Response:
        return await counting.count(request, inference.signing_key)

    app.post("/tokenize")(counting.tokens)
    app.post("/detokenize")(counting.tokens)

    @app.post("/api/event_logging/batch")
    async def event_logging(_request: Request) -> Response:
        return json_response({})

    admin.register(app)
    app.get("/api/fleet")(listing.fleet)
    app.get("/")(listing.health)
    app.get("/health")(listing.health)
    app.get("/v1/models")(listing.models)
    app.get("/v1/models/*id")(listing.model)
