"""A scripted server that is not ours: OpenAI's routes behind a path and a key, and none of a neuron's."""

from typing import Any

from cortex.config import NeuronPeer
from cortex.dialects import openai_chat, openai_responses
from cortex.dialects.neutral import Ended, TextDelta
from cortex.errors import CortexError, Unauthorized
from cortex.http import App, Request, Response, Stream, json_response
from cortex.types import FinishReason
from tests.fakes.neuron import FakeNeuron

KEY = "sk-of-the-server"
ANSWER = "resp_of_the_server"


class FakeServer(FakeNeuron):
    """Serves the models that were `put`; `only` are those that the gateway shall take."""

    def __init__(self, name: str, *, only: tuple[str, ...] = (), responses: bool = False) -> None:
        super().__init__(name)
        self.responses = responses
        self.only = only
        self.listings = 0

    def peer(self) -> NeuronPeer:
        """Its entry in a gateway's configuration."""
        endpoint = f"{self.endpoint}/openai/v1/"
        return NeuronPeer(
            name=self.name,
            endpoint=endpoint,
            kind="openai",
            api_key=KEY,
            models=self.only,
            responses=self.responses,
        )

    def _app(self) -> App:
        app = App(self.name, on_error=_error)
        app.before(_keyed)

        @app.get("/openai/v1/models")
        async def models(_request: Request) -> Response:
            self.listings += 1
            self._notice()
            if self.deaf:
                return Response(body=b"<html>", media_type="text/html")
            served: list[dict[str, Any]] = [
                {"id": id_, "object": "model", "max_model_len": 2048} for id_ in self.entries
            ]
            return json_response({"object": "list", "data": served})

        app.post("/openai/v1/chat/completions")(self._chat)
        app.post("/openai/v1/completions")(self._completions)
        if self.responses:
            app.post("/openai/v1/responses")(self._responses)
        return app

    async def _responses(self, request: Request) -> Response | Stream:
        asked = openai_responses.read_request(openai_responses.parse_request(request.body), earlier=())
        script = await self._admit(request, asked.chat.model)
        if script.nonsense is not None:
            return Response(body=script.nonsense, media_type="text/html")
        events = [*map(TextDelta, script.pieces), Ended(FinishReason.STOP, script.usage())]
        if not asked.chat.stream:
            await self._run(script, None)
            return Response(body=openai_responses.encode_response(events, asked, id=ANSWER, created=1))
        encoder = openai_responses.StreamEncoder(asked, id=ANSWER, created=1)
        return Stream(self._stream(script, encoder, events))


async def _keyed(request: Request) -> Response | None:
    if request.headers.get("authorization") != f"Bearer {KEY}":
        raise Unauthorized("wrong key")
    return None


def _error(_request: Request, error: CortexError) -> Response:
    return Response(status=error.status, body=openai_chat.encode_error(error))
