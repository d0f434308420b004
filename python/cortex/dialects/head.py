"""The head of a request body: the few fields a gateway needs before it forwards the bytes as they came."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from cortex.dialects.body import parse_body
from cortex.errors import InvalidField, MalformedJson

__all__ = ["Head", "peek", "replace_fields", "replace_model"]

_KEY = re.compile(rb'[\s,{]*("(?:[^"\\]|\\.)*")\s*:\s*', re.DOTALL)


class Head(msgspec.Struct, frozen=True):
    """What routing and admission look at; `max_tokens` None = not given. Nothing else of the body was checked."""

    model: str
    stream: bool
    include_usage: bool
    max_tokens: int | None
    n: int


class _Options(msgspec.Struct, frozen=True):
    include_usage: bool | None = None


class _Head(msgspec.Struct, frozen=True):
    model: Annotated[str, msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: _Options | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None


_HEAD = msgspec.json.Decoder(_Head)
_RAW = msgspec.json.Decoder(dict[str, msgspec.Raw])


def peek(body: bytes) -> Head:
    """Read the head, of any dialect. Raises MalformedJson, InvalidField."""
    head = parse_body(_HEAD, body)
    return Head(
        model=head.model,
        stream=bool(head.stream),
        include_usage=bool(head.stream_options and head.stream_options.include_usage),
        max_tokens=head.max_tokens if head.max_completion_tokens is None else head.max_completion_tokens,
        n=1 if head.n is None else head.n,
    )


def replace_model(body: bytes, model: str) -> bytes:
    """The body with another model; all other bytes stay as they are. Raises MalformedJson, InvalidField."""
    return replace_fields(body, {"model": model})


def replace_fields(body: bytes, fields: Mapping[str, Any]) -> bytes:
    """The body with these top-level fields set (added at the front where missing); all other bytes stay.

    Raises InvalidField for a top-level key that stands twice: hosts differ in which of the two they believe, so such
    a body could mean one thing here and another there.
    """
    pieces: list[bytes] = []
    done = 0
    missing = dict(fields)
    for name, start, end in _spans(body):
        if name in missing:
            pieces += (body[done:start], msgspec.json.encode(missing.pop(name)))
            done = end
    pieces.append(body[done:])
    whole = b"".join(pieces)
    if not missing:
        return whole
    brace = whole.index(b"{") + 1
    added = msgspec.json.encode(missing)[1:-1]
    comma = b"" if whole[brace:].lstrip().startswith(b"}") else b","
    return whole[:brace] + added + comma + whole[brace:]


def _spans(body: bytes) -> list[tuple[str, int, int]]:
    """Name, start and end of each top-level value. The decoder finds the values' lengths; the keys are walked."""
    spans = []
    position = 0
    for name, raw in parse_body(_RAW, body).items():
        value = bytes(raw)
        key = _KEY.match(body, position)
        if key is None:
            raise MalformedJson("The body is not a JSON object.")
        position = key.end()
        if msgspec.json.decode(key[1]) != name or not body.startswith(value, position):
            raise InvalidField("The body has a top-level field twice.")
        spans.append((name, position, position + len(value)))
        position += len(value)
    if body[position:].strip() != b"}" and spans:
        raise InvalidField("The body has a top-level field twice.")
    return spans
