"""Routes of the host daemon: paths to handlers, and the style of errors."""

from cortex.dialects import anthropic, openai_chat
from cortex.errors import CortexError
from cortex.http import App, Request, Response
from cortex.neuron.access import Access
from cortex.neuron.host import Host
from cortex.neuron.management import Management

__all__ = ["error_style", "register"]


def error_style(request: Request, error: CortexError) -> Response:
    """Every error in the OpenAI envelope, but for the paths that speak Anthropic; with the request's id."""
    if request.path.startswith("/v1/messages"):
        return Response(status=anthropic.status_of(error), body=anthropic.encode_error(error, request.id))
    return Response(status=error.status, body=openai_chat.encode_error(error, request.id))


def register(app: App, host: Host, access: Access) -> None:
    """All routes."""
    manage = Management(host)
    app.before(access.admit)
    app.get("/")(manage.health)
    app.get("/health")(manage.health)
    app.get("/ready")(manage.ready)
    app.get("/discovery")(manage.discovery)
    app.get("/version")(manage.version)
    app.get("/events")(manage.events)
    app.get("/metrics")(manage.metrics)
    app.get("/models")(manage.models)
    app.get("/models/:id/endpoint")(manage.endpoint)
    app.get("/models/*id")(manage.model)
    app.post("/models/load")(manage.load)
    app.post("/models/unload")(manage.unload)
    app.get("/v1/models")(manage.cards)
    app.get("/v1/models/*id")(manage.card)
    app.post("/v1/chat/completions")(host.inference.chat)
    app.post("/v1/completions")(host.inference.completions)
    app.post("/v1/messages")(host.inference.messages)
    app.post("/v1/responses")(host.inference.responses)
    app.post("/v1/embeddings")(host.embedding.embeddings)
    app.post("/v1/messages/count_tokens")(host.tokens.count_messages)
    app.post("/tokenize")(host.tokens.tokenize)
    app.post("/detokenize")(host.tokens.detokenize)
