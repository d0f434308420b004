"""`context_management.edits`: what the client wants left out of the conversation."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from cortex.dialects.body import field_error
from cortex.dialects.neutral import Message
from cortex.errors import UnsupportedParameter

__all__ = ["apply_edits"]

_CLEAR_THINKING = "clear_thinking_20251015"


class _Turns(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["thinking_turns"]
    value: Annotated[int, msgspec.Meta(ge=1)]


class _ClearThinking(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    keep: Literal["all"] | _Turns | None = None


def apply_edits(messages: tuple[Message, ...], edits: Sequence[dict[str, Any]]) -> tuple[Message, ...]:
    """The messages after the edits. Only the clearing of old thinking is known; other kinds are refused by name."""
    for index, raw in enumerate(edits):
        place = f"context_management.edits[{index}]"
        if raw.get("type") != _CLEAR_THINKING:
            raise UnsupportedParameter(f"`{place}.type`: only {_CLEAR_THINKING} is supported.", param=f"{place}.type")
        try:
            edit = msgspec.convert(raw, _ClearThinking)
        except msgspec.ValidationError as exc:
            raise field_error(str(exc), place) from exc
        if edit.keep != "all":
            messages = _clear_thinking(messages, edit.keep.value if isinstance(edit.keep, _Turns) else 1)
    return messages


def _clear_thinking(messages: tuple[Message, ...], keep: int) -> tuple[Message, ...]:
    """Keep the thinking of the last `keep` assistant turns that have some."""
    kept: list[Message] = []
    for message in reversed(messages):
        if message.reasoning is not None:
            if keep <= 0:
                message = msgspec.structs.replace(message, reasoning=None)
            keep -= 1
        kept.append(message)
    return tuple(reversed(kept))
