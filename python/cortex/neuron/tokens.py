"""Tokens: counts and texts by the tokenizer of a loaded model; nothing is loaded for it, nothing generated."""

from typing import Annotated

import msgspec

from cortex.dialects import anthropic, openai_chat
from cortex.dialects.body import parse_body
from cortex.dialects.neutral import ChatRequest, require_supported
from cortex.http import Request, Response, json_response
from cortex.neuron.kinds import require_generator
from cortex.neuron.models import Models
from cortex.neuron.preparing import encode_conversation

__all__ = ["Tokens"]


class _Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: str
    prompt: str
    add_special_tokens: bool = True


class _Ids(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: str
    tokens: list[Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]]


class _Kind(msgspec.Struct, frozen=True):
    prompt: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_TEXT = msgspec.json.Decoder(_Text)
_IDS = msgspec.json.Decoder(_Ids)
_KIND = msgspec.json.Decoder(_Kind)


class Tokens:
    """Handlers for `/tokenize`, `/detokenize` and `/v1/messages/count_tokens`."""

    def __init__(self, models: Models, *, signing_key: bytes) -> None:
        self._models = models
        self._signing_key = signing_key

    async def tokenize(self, request: Request) -> Response:
        """`{model, prompt}` gives the count and the tokens of a text; `{model, messages, tools}`, as in a chat request,
        the count of the rendered prompt."""
        if parse_body(_KIND, request.body).prompt is not msgspec.UNSET:
            return await self._text(request.body)
        count, limit = await self._count(openai_chat.decode_request(request.body))
        return json_response({"count": count, "max_model_len": limit})

    async def count_messages(self, request: Request) -> Response:
        """`POST /v1/messages/count_tokens`."""
        count, _ = await self._count(anthropic.decode_count_tokens(request.body, signing_key=self._signing_key))
        return Response(body=anthropic.encode_count_tokens(count))

    async def detokenize(self, request: Request) -> Response:
        """`{model, tokens}` gives their text."""
        asked = parse_body(_IDS, request.body)
        model, serving = self._models.serving(asked.model)
        with self._models.lease(model):
            return json_response({"prompt": await serving.engine.decode(asked.tokens)})

    async def _count(self, asked: ChatRequest) -> tuple[int, int]:
        """The tokens of the rendered prompt, and the context they have to fit."""
        model, serving = self._models.serving(asked.model)
        with self._models.lease(model):
            require_generator(serving.engine, model.id)
            prompt = await encode_conversation(serving, require_supported(asked, serving.capabilities))
        return len(prompt), serving.engine.facts.context_length

    async def _text(self, body: bytes) -> Response:
        asked = parse_body(_TEXT, body)
        model, serving = self._models.serving(asked.model)
        with self._models.lease(model):
            prompt = await serving.engine.encode_text(asked.prompt, add_special=asked.add_special_tokens)
        found = {
            "count": len(prompt),
            "max_model_len": serving.engine.facts.context_length,
            "tokens": prompt.tokens(),
        }
        return json_response(found)
