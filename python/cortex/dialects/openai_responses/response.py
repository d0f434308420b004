"""The answer in the words of the Responses dialect: its object, its items, its usage, its failure."""

from collections.abc import Sequence
from typing import Any

import msgspec

from cortex.dialects.answer import collect
from cortex.dialects.logprobs import TokenLogprob
from cortex.dialects.neutral import ChatEvent, Ended
from cortex.dialects.openai_responses.request import ResponsesRequest
from cortex.dialects.openai_responses.seal import seal
from cortex.dialects.openai_responses.tools import custom_input
from cortex.errors import ContextLengthExceeded, CortexError, QueueFull, RequestError
from cortex.types import FinishReason, Usage

__all__ = ["Items", "encode_response", "ended_fields", "error_object", "is_object", "response_object"]


def response_object(asked: ResponsesRequest, *, id: str, created: int, **changing: Any) -> dict[str, Any]:
    """The whole object; `changing` are status, output, usage, error and incomplete_details where they are not those of
    an answer that has just begun."""
    begun: dict[str, Any] = {
        "id": id,
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": asked.chat.model,
        "output": [],
        "usage": None,
    }
    return {**begun, **asked.echo, **changing}


def ended_fields(ended: Ended) -> dict[str, Any]:
    """Status, incomplete_details and usage of an answer that came to its end."""
    cut = ended.reason is FinishReason.LENGTH
    return {
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "usage": None if ended.usage is None else _usage_object(ended.usage),
    }


def _usage_object(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def error_object(error: CortexError) -> dict[str, str]:
    """`error` of an answer that failed after its start. The codes are the dialect's own: agents decide by them whether
    to compact, to wait or to try again."""
    code = "server_error"
    if isinstance(error, ContextLengthExceeded):
        code = error.code
    elif isinstance(error, QueueFull) or error.status == 429:
        code = QueueFull.code
    elif isinstance(error, RequestError):
        code = "invalid_prompt"
    return {"code": code, "message": error.advice}


def is_object(text: str) -> bool:
    """Whether this is a whole JSON object."""
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (msgspec.DecodeError, RecursionError):
        return False


class Items:
    """Makes the output items of one answer; their ids are made of the answer's and of their place in it."""

    def __init__(self, asked: ResponsesRequest, id: str, signing_key: bytes) -> None:
        self._asked = asked
        self._suffix = id.removeprefix("resp_")
        self._key = signing_key

    def id(self, kind: str, index: int) -> str:
        """The id of the item in that place."""
        return f"{kind}_{self._suffix}_{index}"

    def reasoning(self, index: int, text: str | None) -> dict[str, Any]:
        """Thinking; None = it begins."""
        item: dict[str, Any] = {"id": self.id("rs", index), "type": "reasoning", "summary": []}
        if text is None:
            return item
        if self._asked.summarise:
            item["summary"] = [{"type": "summary_text", "text": text}]
        else:
            item["content"] = [{"type": "reasoning_text", "text": text}]
        if self._asked.seal:
            item["encrypted_content"] = seal(text, self._asked.chat.model, self._key)
        return item

    def message(
        self, index: int, text: str | None, *, logprobs: tuple[TokenLogprob, ...] = (), cut: bool = False
    ) -> dict[str, Any]:
        """Text; None = it begins."""
        part: dict[str, Any] = {"type": "output_text", "text": text, "annotations": [], "logprobs": list(logprobs)}
        return {
            "id": self.id("msg", index),
            "type": "message",
            "role": "assistant",
            "status": _status(begins=text is None, cut=cut),
            "content": [] if text is None else [part],
        }

    def call(self, index: int, call_id: str, flat: str, arguments: str | None) -> dict[str, Any]:
        """A call under the client's own name for it; None = it begins. Arguments that the token limit cut make it
        incomplete."""
        called = self._asked.called_as.get(flat)
        custom = called is not None and called.custom
        item: dict[str, Any] = {
            "id": self.id("ctc" if custom else "fc", index),
            "type": "custom_tool_call" if custom else "function_call",
            "call_id": call_id,
            "name": called.name if called else flat,
            "status": _status(begins=arguments is None, cut=arguments is not None and not is_object(arguments)),
        }
        if called is not None and called.namespace is not None:
            item["namespace"] = called.namespace
        item["input" if custom else "arguments"] = custom_input(arguments or "") if custom else arguments or ""
        return item


def _status(*, begins: bool, cut: bool) -> str:
    return "in_progress" if begins else "incomplete" if cut else "completed"


def encode_response(
    events: Sequence[ChatEvent], asked: ResponsesRequest, *, id: str, created: int, signing_key: bytes = b""
) -> bytes:
    """The answer without streaming. Raises what `collect` raises: the failure of the generation."""
    answer = collect(events)
    items = Items(asked, id, signing_key)
    output: list[dict[str, Any]] = []
    if answer.reasoning:
        output.append(items.reasoning(0, answer.reasoning))
    if answer.text:
        cut = answer.ended.reason is FinishReason.LENGTH
        cut = cut and not answer.tool_calls
        output.append(items.message(len(output), answer.text, logprobs=answer.logprobs, cut=cut))
    for call in answer.tool_calls:
        output.append(items.call(len(output), call.id, call.name, call.arguments))
    fields = ended_fields(answer.ended)
    return msgspec.json.encode(response_object(asked, id=id, created=created, output=output, **fields))
