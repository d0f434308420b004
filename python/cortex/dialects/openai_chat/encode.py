"""A chat completion request and a whole answer: the neutral form to bytes."""

from collections.abc import Sequence
from typing import Any

import msgspec

from cortex.dialects.answer import Answer, collect
from cortex.dialects.image import Image
from cortex.dialects.logprobs import content
from cortex.dialects.neutral import ChatEvent, ChatRequest, Ended, Message, Tool
from cortex.dialects.openai_envelope import add_usage, usage_object
from cortex.dialects.openai_fields import sampling_fields
from cortex.dialects.structured import structure_fields
from cortex.types import FinishReason, Usage

__all__ = ["encode_request", "encode_response", "finish_reason"]


def encode_request(request: ChatRequest) -> bytes:
    """The request for an OpenAI upstream; what is not given is left out, so that the host's defaults stand."""
    body: dict[str, Any] = {"model": request.model, "messages": [_message(message) for message in request.messages]}
    if request.stream:
        body["stream"] = True
        if request.include_usage:
            body["stream_options"] = {"include_usage": True}
    body.update(sampling_fields(request.sampling))
    optional: dict[str, Any] = {
        "max_tokens": request.max_tokens,
        "min_tokens": request.min_tokens or None,
        "ignore_eos": request.ignore_eos or None,
        "stop": request.stop or None,
        "stop_token_ids": request.stop_token_ids or None,
        "n": request.n if request.n != 1 else None,
        "tools": [_tool(tool) for tool in request.tools] or None,
        "tool_choice": _tool_choice(request.tool_choice),
        "parallel_tool_calls": request.parallel_tool_calls,
        "response_format": request.response_format,
        "structured_outputs": structure_fields(request.structure),
        "logprobs": request.logprobs or None,
        "top_logprobs": request.top_logprobs,
        "reasoning_effort": request.effort,
        "chat_template_kwargs": _template_kwargs(request),
    }
    body.update((name, value) for name, value in optional.items() if value is not None)
    return msgspec.json.encode(body)


def _template_kwargs(request: ChatRequest) -> dict[str, Any] | None:
    kwargs = dict(request.template_kwargs or {})
    if request.thinking is not None:
        kwargs["enable_thinking"] = request.thinking
    return kwargs or None


def _message(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "content": _content(message)}
    if message.tool_calls:
        wire["content"] = wire["content"] or None
        wire["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.reasoning is not None:
        wire["reasoning_content"] = message.reasoning
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        wire["name"] = message.name
    return wire


def _content(message: Message) -> str | list[dict[str, Any]]:
    """The content; the dialect has no word for a failed tool call, so its result says so in the text."""
    mark = "Error: " if message.is_error else ""
    if isinstance(message.content, str):
        return mark + message.content
    parts: list[dict[str, Any]] = [{"type": "text", "text": mark.strip()}] if mark else []
    parts.extend(
        {"type": "image_url", "image_url": {"url": part.url}}
        if isinstance(part, Image)
        else {"type": "text", "text": part}
        for part in message.content
    )
    return parts


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.parameters}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: str | None) -> str | dict[str, Any] | None:
    if choice is None or not choice.startswith("function:"):
        return choice
    return {"type": "function", "function": {"name": choice.removeprefix("function:")}}


def finish_reason(ended: Ended, *, called: bool) -> str:
    """The dialect's word for the end; an answer with calls that was not cut says `tool_calls`."""
    if ended.reason is FinishReason.LENGTH:
        return "length"
    return "tool_calls" if called else "stop"


def encode_response(*choices: Sequence[ChatEvent], id: str, model: str, created: int) -> bytes:
    """The answer without streaming, from the events of each choice. Raises the first failure among them."""
    usage: Usage | None = None
    wire = []
    for index, events in enumerate(choices):
        answer = collect(events)
        usage = add_usage(usage, answer.ended.usage)
        wire.append(_choice(answer, index))
    body: dict[str, Any] = {
        "id": id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": wire,
    }
    if usage is not None:
        body["usage"] = usage_object(usage)
    return msgspec.json.encode(body)


def _choice(answer: Answer, index: int) -> dict[str, Any]:
    choice: dict[str, Any] = {
        "index": index,
        "message": _answer_message(answer),
        "logprobs": content(answer.logprobs),
        "finish_reason": finish_reason(answer.ended, called=bool(answer.tool_calls)),
    }
    if answer.ended.stop_sequence is not None:
        choice["stop_reason"] = answer.ended.stop_sequence
    return choice


def _answer_message(answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
        message["reasoning"] = answer.reasoning
    if answer.tool_calls:
        message["content"] = answer.text or None
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in answer.tool_calls
        ]
    return message
