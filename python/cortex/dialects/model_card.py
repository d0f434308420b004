"""What a list of models says about one model, before a dialect gives it its shape."""

from typing import Any

import msgspec

__all__ = ["ModelCard"]


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `/v1/models`. `created` is Unix seconds; `extra` are further fields of the OpenAI shape."""

    id: str
    created: int = 0
    owned_by: str = "cortex"
    display_name: str | None = None
    context_length: int | None = None
    max_output_tokens: int | None = None
    extra: dict[str, Any] = {}
