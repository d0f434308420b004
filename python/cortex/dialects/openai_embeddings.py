"""OpenAI embeddings: the request's bytes to a value, vectors to the answer's bytes, and what a host's answer used."""

import base64
import struct
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec

from cortex.dialects.body import parse_body
from cortex.dialects.openai_chat.upstream import WireUsage
from cortex.dialects.openai_upstream import WireError, error_of
from cortex.errors import CortexError, InvalidField, UpstreamMalformed
from cortex.types import Usage

__all__ = [
    "IGNORED_FIELDS",
    "EmbeddingRequest",
    "Input",
    "decode_request",
    "encode_item",
    "encode_response",
    "usage_of",
]

IGNORED_FIELDS = ("user",)
"""Accepted without meaning on one's own hardware, and named in `x-cortex-ignored` whenever given."""

MAX_INPUTS = 2048

Input = str | tuple[int, ...]
_Token = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
_Ids = Annotated[list[_Token], msgspec.Meta(min_length=1)]


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Each input, text or token ids, gives one vector, in order. `base64` = vectors as f32 little endian in base64
    rather than lists of numbers; `dimensions` None = all that the model makes."""

    model: str
    inputs: tuple[Input, ...]
    base64: bool = False
    dimensions: int | None = None
    ignored: tuple[str, ...] = ()


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model: Annotated[str, msgspec.Meta(min_length=1)]
    input: str | list[Any]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None
    user: Any = None


class _Answer(msgspec.Struct, frozen=True):
    data: msgspec.Raw = msgspec.Raw()
    usage: WireUsage | None = None
    error: WireError | str | None = None


_DECODER = msgspec.json.Decoder(_Body)
_ANSWER = msgspec.json.Decoder(_Answer)


def decode_request(body: bytes) -> EmbeddingRequest:
    """Decode a body. Raises MalformedJson, InvalidField, UnsupportedParameter, with `param` naming the field."""
    wire = parse_body(_DECODER, body)
    return EmbeddingRequest(
        model=wire.model,
        inputs=_inputs(wire.input),
        base64=wire.encoding_format == "base64",
        dimensions=wire.dimensions,
        ignored=IGNORED_FIELDS if wire.user is not None else (),
    )


def _inputs(given: str | list[Any]) -> tuple[Input, ...]:
    """A text, token ids, a list of texts, or a list of lists of token ids. A text may be empty: the model may put
    tokens of its own around it."""
    if isinstance(given, str):
        return (given,)
    if not given:
        raise InvalidField("`input` is empty.", param="input")
    try:
        if isinstance(given[0], int):
            return (tuple(msgspec.convert(given, _Ids)),)
        if len(given) > MAX_INPUTS:
            raise InvalidField(f"`input` has {len(given)} entries; at most {MAX_INPUTS} are taken.", param="input")
        if isinstance(given[0], list):
            return tuple(tuple(ids) for ids in msgspec.convert(given, list[_Ids]))
        return tuple(msgspec.convert(given, list[str]))
    except msgspec.ValidationError as exc:
        wanted = "`input` is a text, a list of texts, token ids, or a list of lists of token ids"
        raise InvalidField(f"{wanted}: {exc}.", param="input") from exc


def encode_item(vector: bytes | memoryview, *, index: int, base64_: bool) -> bytes:
    """One entry of the answer's `data`; `vector` is f32 little endian."""
    embedding = base64.b64encode(vector).decode() if base64_ else struct.unpack(f"<{len(vector) // 4}f", vector)
    return msgspec.json.encode({"object": "embedding", "index": index, "embedding": embedding})


def encode_response(items: Iterable[bytes], *, model: str, usage: Usage) -> bytes:
    """The answer, from its entries in order."""
    tokens = {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.prompt_tokens}
    tail = msgspec.json.encode({"model": model, "usage": tokens})
    return b'{"object":"list","data":[' + b",".join(items) + b"]," + tail[1:]


def usage_of(body: bytes) -> Usage | None:
    """The usage of a host's answer. Raises UpstreamMalformed for one without embeddings, and the host's error."""
    try:
        answer = _ANSWER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        error: CortexError = UpstreamMalformed("The host sent an answer that is not its protocol.")
        error.add_note(str(exc))
        raise error from exc
    if answer.error is not None:
        raise error_of(answer.error)
    if not bytes(answer.data).startswith(b"["):
        raise UpstreamMalformed("The host answered something that is no list of embeddings.")
    return None if answer.usage is None else answer.usage.neutral()
