"""A Responses request: the body's bytes to the neutral form, and what of it the answer repeats."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cortex.dialects.body import parse_body
from cortex.dialects.neutral import ChatRequest, Message, Sampling, Tool
from cortex.dialects.openai_fields import refuse_given
from cortex.dialects.openai_responses.ignored import Ignored
from cortex.dialects.openai_responses.items import ItemReader
from cortex.dialects.openai_responses.schema import ResponsesBody, SchemaFormat, TextFormat
from cortex.dialects.openai_responses.tools import CalledAs, read_choice, read_tools
from cortex.errors import ChainingUnsupported, InvalidField, UnsupportedParameter

__all__ = ["ResponsesRequest", "parse_request", "read_request"]

_DECODER = msgspec.json.Decoder(ResponsesBody)
_HINTS = (
    "client_metadata",
    "max_tool_calls",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "user",
)
_REFUSED = ("background", "context_management", "conversation", "moderation", "prompt")
_SEALED = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"


class ResponsesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request read in full.

    `echo` are the fields that the answer repeats, `called_as` the tools whose name or kind differs for the client.
    `summarise`: thinking goes out as a summary (the client asked for one), else as reasoning text. `seal`: with
    `encrypted_content`. `shorten`: old turns may be left out. `items` is the request's own input.
    """

    chat: ChatRequest
    echo: dict[str, Any]
    called_as: dict[str, CalledAs]
    summarise: bool
    seal: bool
    shorten: bool
    items: tuple[dict[str, Any], ...]


def parse_request(body: bytes) -> ResponsesBody:
    """The body as it stands. Raises MalformedJson, InvalidField, UnsupportedParameter; `param` names the field."""
    wire = parse_body(_DECODER, body)
    refuse_given(wire, _REFUSED)
    return wire


def read_request(
    wire: ResponsesBody,
    *,
    signing_key: bytes = b"",
    earlier: Sequence[Mapping[str, Any]] | None = None,
    keeps: bool = False,
    shortens: bool = False,
) -> ResponsesRequest:
    """The request in neutral words. Raises InvalidField, UnsupportedParameter, ChainingUnsupported.

    `signing_key` is the one that answers' thinking is sealed with. `earlier` are the items of the conversation that
    `previous_response_id` names, None where answers are not kept. `keeps` is whether this answer will be. `shortens`:
    the caller can leave out old turns when the client wants that.
    """
    if wire.truncation == "auto" and not shortens:
        raise UnsupportedParameter("`truncation` auto is not supported: nothing is left out here.", param="truncation")
    if wire.previous_response_id is not None and earlier is None:
        raise ChainingUnsupported(
            "`previous_response_id` is not supported: no answers are kept here.", param="previous_response_id"
        )
    ignored = Ignored()
    _note_hints(wire, ignored, keeps=keeps)
    own = _own_items(wire)
    reader = ItemReader(model=wire.model, signing_key=signing_key, ignored=ignored)
    messages = reader.read((*(earlier or ()), *own), wire.instructions)
    if not messages:
        raise InvalidField("`input` is empty.", param="input")
    tools, called_as = read_tools(wire.tools or (), ignored)
    choice, tools = read_choice(wire.tool_choice, tools)
    chat = _chat(wire, messages, tools, choice, ignored)
    return ResponsesRequest(
        chat=chat,
        echo=_echo(wire, keeps=keeps),
        called_as=_still_there(called_as, tools),
        summarise=bool(wire.reasoning and (wire.reasoning.summary or wire.reasoning.generate_summary)),
        seal=_SEALED in (wire.include or ()),
        shorten=wire.truncation == "auto",
        items=own,
    )


def _chat(
    wire: ResponsesBody, messages: tuple[Message, ...], tools: tuple[Tool, ...], choice: str | None, ignored: Ignored
) -> ChatRequest:
    return ChatRequest(
        model=wire.model,
        messages=messages,
        stream=bool(wire.stream),
        include_usage=True,
        max_tokens=wire.max_output_tokens,
        sampling=_sampling(wire),
        tools=tools,
        tool_choice=choice if tools else None,
        parallel_tool_calls=wire.parallel_tool_calls if tools else None,
        response_format=_response_format(wire),
        logprobs=_LOGPROBS in (wire.include or ()) or bool(wire.top_logprobs),
        top_logprobs=wire.top_logprobs or None,
        thinking=_thinking(wire),
        effort=_effort(wire),
        template_kwargs=wire.chat_template_kwargs or None,
        ignored=ignored.names(),
    )


def _own_items(wire: ResponsesBody) -> tuple[dict[str, Any], ...]:
    if isinstance(wire.input, str):
        content = [{"type": "input_text", "text": wire.input}]
        return ({"type": "message", "role": "user", "content": content},) if wire.input else ()
    return tuple(wire.input)


def _still_there(called_as: dict[str, CalledAs], tools: tuple[Tool, ...]) -> dict[str, CalledAs]:
    names = {tool.name for tool in tools}
    return {flat: called for flat, called in called_as.items() if flat in names}


def _note_hints(wire: ResponsesBody, ignored: Ignored, *, keeps: bool) -> None:
    ignored.add(*(name for name in _HINTS if getattr(wire, name) is not None))
    if wire.store is not None and not keeps:
        ignored.add("store")
    if any(name not in (_SEALED, _LOGPROBS) for name in wire.include or ()):
        ignored.add("include")
    if wire.stream_options is not None and wire.stream_options.include_obfuscation:
        ignored.add("stream_options.include_obfuscation")
    if wire.text is not None and wire.text.verbosity is not None:
        ignored.add("text.verbosity")
    reasoning = wire.reasoning
    if reasoning is not None:
        if reasoning.effort not in (None, "none"):
            ignored.add("reasoning.effort")
        ignored.add(*(f"reasoning.{name}" for name in ("context", "mode") if getattr(reasoning, name) is not None))


def _sampling(wire: ResponsesBody) -> Sampling:
    return Sampling(
        temperature=wire.temperature,
        top_p=wire.top_p,
        top_k=0 if wire.top_k == -1 else wire.top_k,
        min_p=wire.min_p,
        seed=wire.seed,
        frequency_penalty=wire.frequency_penalty,
        presence_penalty=wire.presence_penalty,
        repetition_penalty=wire.repetition_penalty,
    )


def _response_format(wire: ResponsesBody) -> dict[str, Any] | None:
    """The format in the words of the chat dialect; plain text is no format."""
    wanted = wire.text.format if wire.text is not None else None
    if wanted is None or isinstance(wanted, TextFormat):
        return None
    if not isinstance(wanted, SchemaFormat):
        return {"type": "json_object"}
    fields = {name: getattr(wanted, name) for name in ("name", "schema", "description", "strict")}
    return {"type": "json_schema", "json_schema": {name: value for name, value in fields.items() if value is not None}}


def _effort(wire: ResponsesBody) -> str | None:
    effort = wire.reasoning.effort if wire.reasoning is not None else None
    return None if effort == "none" else effort


def _thinking(wire: ResponsesBody) -> bool | None:
    if wire.reasoning is not None and wire.reasoning.effort == "none":
        return False
    wanted = (wire.chat_template_kwargs or {}).get("enable_thinking")
    return wanted if isinstance(wanted, bool) else None


def _echo(wire: ResponsesBody, *, keeps: bool) -> dict[str, Any]:
    given = wire.text.format if wire.text is not None else None
    reasoning = wire.reasoning
    return {
        "background": False,
        "instructions": wire.instructions,
        "max_output_tokens": wire.max_output_tokens,
        "metadata": wire.metadata or {},
        "parallel_tool_calls": wire.parallel_tool_calls is not False,
        "previous_response_id": wire.previous_response_id,
        "reasoning": {
            "effort": reasoning.effort if reasoning else None,
            "summary": (reasoning.summary or reasoning.generate_summary) if reasoning else None,
        },
        "store": keeps,
        "temperature": wire.temperature,
        "text": {"format": msgspec.to_builtins(given) if given is not None else {"type": "text"}},
        "tool_choice": wire.tool_choice or "auto",
        "tools": wire.tools or [],
        "top_logprobs": wire.top_logprobs or 0,
        "top_p": wire.top_p,
        "truncation": wire.truncation or "disabled",
    }
