"""A raw completion request: the body's bytes to a value, and which engines can run it."""

from typing import Annotated, Any

import msgspec

from cortex.dialects.body import parse_body
from cortex.dialects.neutral import Sampling
from cortex.dialects.openai_fields import (
    CommonFields,
    common_ignored,
    refuse_given,
    sampling_fields,
    sampling_of,
    stop_of,
)
from cortex.dialects.structured import Structure, structure_fields, structure_of
from cortex.errors import InvalidField, UnsupportedParameter

__all__ = ["IGNORED_FIELDS", "CompletionRequest", "decode_request", "encode_request", "require_supported"]

IGNORED_FIELDS = (
    "metadata",
    "prompt_cache_key",
    "safety_identifier",
    "service_tier",
    "stream_options.continuous_usage_stats",
    "stream_options.include_obfuscation",
    "user",
)
"""Accepted without meaning on one's own hardware, and named in `x-cortex-ignored` whenever given."""

_DEFAULT_MAX_TOKENS = 16
_MAX_CHOICES = 128

Prompt = str | tuple[int, ...]
_Token = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]


class CompletionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A completion request. Each prompt is text or token ids, and gives `n` choices, in order of the prompts.

    `max_tokens` is 16 when the client does not say, as the dialect has it; 0 is for `echo` alone.
    `logprobs` is how many alternatives a token shall have, None = no logprobs.
    """

    model: str
    prompts: tuple[Prompt, ...]
    stream: bool = False
    include_usage: bool = False
    max_tokens: int = _DEFAULT_MAX_TOKENS
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    sampling: Sampling = Sampling()
    n: int = 1
    echo: bool = False
    logprobs: int | None = None
    structure: Structure | None = None
    ignored: tuple[str, ...] = ()


class _Body(CommonFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    prompt: str | list[Any]
    max_tokens: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    best_of: Annotated[int, msgspec.Meta(ge=1)] | None = None
    suffix: str | None = None


_DECODER = msgspec.json.Decoder(_Body)


def decode_request(body: bytes) -> CompletionRequest:
    """Decode a body. Raises MalformedJson, InvalidField, UnsupportedParameter, with `param` naming the field."""
    wire = parse_body(_DECODER, body)
    refuse_given(wire, ("suffix",))
    n = wire.n or 1
    if wire.best_of is not None and wire.best_of != n:
        raise UnsupportedParameter("`best_of` is not supported, unless it equals `n`.", param="best_of")
    prompts = _prompts(wire.prompt)
    if n * len(prompts) > _MAX_CHOICES:
        raise InvalidField(f"`prompt` times `n` gives more than {_MAX_CHOICES} choices.", param="prompt")
    return CompletionRequest(
        model=wire.model,
        prompts=prompts,
        stream=bool(wire.stream),
        include_usage=bool(wire.stream_options and wire.stream_options.include_usage),
        max_tokens=_DEFAULT_MAX_TOKENS if wire.max_tokens is None else wire.max_tokens,
        min_tokens=wire.min_tokens or 0,
        ignore_eos=bool(wire.ignore_eos),
        stop=stop_of(wire),
        stop_token_ids=tuple(wire.stop_token_ids or ()),
        sampling=sampling_of(wire),
        n=n,
        echo=bool(wire.echo),
        logprobs=wire.logprobs,
        structure=structure_of(wire),
        ignored=tuple(sorted(common_ignored(wire))),
    )


def _prompts(prompt: str | list[Any]) -> tuple[Prompt, ...]:
    """A text, token ids, a list of texts, or a list of lists of token ids."""
    if isinstance(prompt, str):
        return (prompt,)
    if not prompt:
        raise InvalidField("`prompt` is empty.", param="prompt")
    try:
        if isinstance(prompt[0], str):
            return tuple(msgspec.convert(prompt, list[str]))
        if isinstance(prompt[0], list):
            lists = msgspec.convert(prompt, list[Annotated[list[_Token], msgspec.Meta(min_length=1)]])
            return tuple(tuple(ids) for ids in lists)
        return (tuple(msgspec.convert(prompt, list[_Token])),)
    except msgspec.ValidationError as exc:
        wanted = "`prompt` is a text, a list of texts, token ids, or a list of lists of token ids"
        raise InvalidField(f"{wanted}: {exc}.", param="prompt") from exc


def encode_request(request: CompletionRequest) -> bytes:
    """The request for an OpenAI upstream."""
    prompts = [text if isinstance(text, str) else list(text) for text in request.prompts]
    body: dict[str, Any] = {
        "model": request.model,
        "prompt": prompts[0] if len(prompts) == 1 else prompts,
        "max_tokens": request.max_tokens,
    }
    if request.stream:
        body["stream"] = True
        if request.include_usage:
            body["stream_options"] = {"include_usage": True}
    body.update(sampling_fields(request.sampling))
    optional: dict[str, Any] = {
        "min_tokens": request.min_tokens or None,
        "ignore_eos": request.ignore_eos or None,
        "stop": request.stop or None,
        "stop_token_ids": request.stop_token_ids or None,
        "n": request.n if request.n != 1 else None,
        "echo": request.echo or None,
        "logprobs": request.logprobs,
        "structured_outputs": structure_fields(request.structure),
    }
    body.update((name, value) for name, value in optional.items() if value is not None)
    return msgspec.json.encode(body)


def require_supported(request: CompletionRequest, capabilities: frozenset[str]) -> CompletionRequest:
    """The request, or UnsupportedParameter naming the field that an engine with these capabilities cannot honour.

    Capabilities: `n`, `logprobs`, `logit_bias`, `structured`. Several prompts and `echo` need none.
    """
    structure = request.structure
    needs = {
        "n": ("n", request.n > 1),
        "logprobs": ("logprobs", request.logprobs is not None),
        "logit_bias": ("logit_bias", bool(request.sampling.logit_bias)),
        "" if structure is None else structure.field: ("structured", structure is not None),
    }
    for field, (capability, wanted) in needs.items():
        if wanted and capability not in capabilities:
            raise UnsupportedParameter(f"The model cannot honour `{field}` here; leave it out.", param=field)
    return request
