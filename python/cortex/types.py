"""Values that every part shares: ids, finish reasons, usage."""

from enum import StrEnum

import msgspec

__all__ = ["FinishReason", "ModelState", "Usage"]


class FinishReason(StrEnum):
    """Why a generation ended, in neutral words."""

    STOP = "stop"
    STOP_SEQUENCE = "stop_sequence"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CANCELLED = "cancelled"


class ModelState(StrEnum):
    """Life of a model on one host; `loaded` keeps the original's word for ready."""

    ABSENT = "absent"
    FETCHING = "fetching"
    LOADING = "loading"
    LOADED = "loaded"
    DRAINING = "draining"
    UNLOADING = "unloading"
    FAILED = "failed"


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one request; `cached_tokens` are those of the prompt that a prefix hit saved."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens
