"""Embedded: the vectors of one request, as the engine packs them."""

import msgspec

from cortex import _native
from cortex.errors import EngineFailed

__all__ = ["Embedded", "embedded"]

_VALUE_BYTES = 4


class Embedded(msgspec.Struct, frozen=True, kw_only=True):
    """`vectors` has one entry a text: f32 values, little endian, of length 1 together."""

    vectors: tuple[memoryview, ...]
    prompt_tokens: int
    queue_seconds: float


def embedded(event: _native.Event, dimensions: int) -> Embedded:
    """The vectors on a request's last event. Raises EngineFailed where it has none."""
    ending = event.ending
    if ending is None or event.vectors is None:
        why = ending.error if ending is not None else None
        raise EngineFailed(why or "The model was unloaded.")
    packed, width = memoryview(event.vectors), dimensions * _VALUE_BYTES
    return Embedded(
        vectors=tuple(packed[start : start + width] for start in range(0, len(packed), width)),
        prompt_tokens=ending.prompt_tokens,
        queue_seconds=ending.queue_seconds,
    )
