"""The list of models in Anthropic's shape, for both generations of the API."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from cortex.dialects.model_card import ModelCard

__all__ = ["encode_model", "encode_models"]


def _model_object(card: ModelCard) -> dict[str, Any]:
    return {
        "type": "model",
        "id": card.id,
        "display_name": card.display_name or card.id,
        "created_at": datetime.fromtimestamp(card.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        "max_input_tokens": card.context_length,
        "max_tokens": card.max_output_tokens,
    }


def encode_model(card: ModelCard) -> bytes:
    """The answer to `GET /v1/models/{id}`."""
    return msgspec.json.encode(_model_object(card))


def encode_models(cards: Sequence[ModelCard]) -> bytes:
    """The answer to `GET /v1/models`: always one page, in the order given."""
    return msgspec.json.encode(
        {
            "data": [_model_object(card) for card in cards],
            "has_more": False,
            "first_id": cards[0].id if cards else None,
            "last_id": cards[-1].id if cards else None,
        }
    )
