"""Responding: the bytes of a `/v1/responses` request as a sequence for the engine; nothing is kept on a host."""

import secrets
import time
from collections.abc import Sequence

from cortex.dialects import openai_responses
from cortex.dialects.neutral import ChatEvent
from cortex.neuron.answers import Encoder
from cortex.neuron.metrics import Meter
from cortex.neuron.preparing import Lease, Prepared, one_choice, prepare

__all__ = ["prepare_responses"]


async def prepare_responses(body: bytes, lease: Lease, meter: Meter, *, signing_key: bytes) -> Prepared:
    """`/v1/responses`."""
    asked = openai_responses.read_request(openai_responses.parse_request(body), signing_key=signing_key)
    id_, created = f"resp_{secrets.token_hex(16)}", int(time.time())

    def encoder(_prompt_tokens: int) -> Encoder:
        return one_choice(openai_responses.StreamEncoder(asked, id=id_, created=created, signing_key=signing_key))

    def whole(sequences: Sequence[Sequence[ChatEvent]]) -> bytes:
        return openai_responses.encode_response(sequences[0], asked, id=id_, created=created, signing_key=signing_key)

    return await prepare(asked.chat, lease, meter, encoder, whole)
