"""A whole answer in Anthropic's words, and the stop reasons and usage that streams share with it."""

from collections.abc import Sequence
from typing import Any

import msgspec

from cortex.dialects.answer import Answer, collect
from cortex.dialects.anthropic.signature import sign
from cortex.dialects.neutral import ChatEvent, Ended, ToolCall
from cortex.errors import UpstreamMalformed
from cortex.types import FinishReason, Usage

__all__ = ["encode_count_tokens", "encode_response", "stop_fields", "usage_object"]


def stop_fields(ended: Ended, *, called: bool) -> dict[str, str | None]:
    """`stop_reason` and `stop_sequence`; an answer with calls that was not cut says `tool_use`."""
    if ended.reason is FinishReason.LENGTH:
        return {"stop_reason": "max_tokens", "stop_sequence": None}
    if called:
        return {"stop_reason": "tool_use", "stop_sequence": None}
    if ended.reason is FinishReason.STOP_SEQUENCE and ended.stop_sequence:
        return {"stop_reason": "stop_sequence", "stop_sequence": ended.stop_sequence}
    return {"stop_reason": "end_turn", "stop_sequence": None}


def usage_object(*, prompt: int, cached: int, output: int) -> dict[str, int]:
    """Usage: `input_tokens` leaves out what the prefix cache saved, which stands apart."""
    return {
        "input_tokens": prompt - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": output,
    }


def encode_count_tokens(input_tokens: int) -> bytes:
    """The answer to `/v1/messages/count_tokens`."""
    return msgspec.json.encode({"input_tokens": input_tokens})


def encode_response(events: Sequence[ChatEvent], *, id: str, model: str, signing_key: bytes = b"") -> bytes:
    """The answer without streaming. Raises the failure of the generation, and UpstreamMalformed for a call whose
    arguments are no JSON object. `model` is the name the client asked for: the thinking's signature is bound to it."""
    answer = collect(events)
    content = _content(answer, model, signing_key)
    called = any(block["type"] == "tool_use" for block in content)
    usage = answer.ended.usage or Usage()
    body = {
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        **stop_fields(answer.ended, called=called),
        "usage": usage_object(prompt=usage.prompt_tokens, cached=usage.cached_tokens, output=usage.completion_tokens),
    }
    return msgspec.json.encode(body)


def _content(answer: Answer, model: str, signing_key: bytes) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    if answer.reasoning:
        signature = sign(answer.reasoning, model, signing_key)
        content.append({"type": "thinking", "thinking": answer.reasoning, "signature": signature})
    if answer.text:
        content.append({"type": "text", "text": answer.text})
    cut = answer.ended.reason is FinishReason.LENGTH
    for call in answer.tool_calls:
        arguments = _arguments(call)
        if arguments is not None:
            content.append({"type": "tool_use", "id": call.id, "name": call.name, "input": arguments})
        elif not cut:  # a call that the token limit cut short is left out; `max_tokens` says why
            raise UpstreamMalformed(f"The model called {call.name!r} with arguments that are no JSON object.")
    return content


def _arguments(call: ToolCall) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(call.arguments)
    except (msgspec.DecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
