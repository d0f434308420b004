"""The fields that OpenAI's chat and completions share, as they stand on the wire, and their neutral meaning."""

from typing import Annotated, Any

import msgspec

from cortex.dialects.neutral import Sampling
from cortex.dialects.structured import GuidedFields
from cortex.errors import InvalidField, UnsupportedParameter

__all__ = [
    "CommonFields",
    "StreamOptions",
    "common_ignored",
    "refuse_given",
    "sampling_fields",
    "sampling_of",
    "stop_of",
]

_COUNT = msgspec.Meta(ge=0, le=2**31 - 1)
_TOKEN = msgspec.Meta(ge=0, le=2**32 - 1)
_MAX_STOPS = 32
_SAMPLING = tuple(Sampling.__struct_fields__)


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`stream_options`; obfuscation and running usage are accepted and named as ignored."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    continuous_usage_stats: bool | None = None


class CommonFields(GuidedFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields of both dialects; null means not given, as the SDKs send it."""

    model: Annotated[str, msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: str | list[str] | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    logit_bias: dict[str, Annotated[float, msgspec.Meta(ge=-100, le=100)]] | None = None
    min_tokens: Annotated[int, _COUNT] | None = None
    ignore_eos: bool | None = None
    stop_token_ids: Annotated[list[Annotated[int, _TOKEN]], msgspec.Meta(max_length=256)] | None = None
    # Accepted without meaning here; named in `ignored`.
    user: Any = None
    metadata: Any = None
    service_tier: Any = None
    prompt_cache_key: Any = None
    safety_identifier: Any = None


_IGNORED = ("user", "metadata", "service_tier", "prompt_cache_key", "safety_identifier")


def common_ignored(fields: CommonFields) -> list[str]:
    """The names of the given fields that have no meaning here."""
    names = [name for name in _IGNORED if getattr(fields, name) is not None]
    options = fields.stream_options
    if options is not None:
        if options.include_obfuscation:
            names.append("stream_options.include_obfuscation")
        if options.continuous_usage_stats:
            names.append("stream_options.continuous_usage_stats")
    return names


def sampling_of(fields: CommonFields) -> Sampling:
    """The sampling fields; `top_k` -1 is another spelling of 0."""
    values = {name: getattr(fields, name) for name in _SAMPLING}
    if fields.top_k == -1:
        values["top_k"] = 0
    return Sampling(**values)


def sampling_fields(sampling: Sampling) -> dict[str, Any]:
    """The sampling fields that are given, as they go on the wire."""
    return {name: value for name in _SAMPLING if (value := getattr(sampling, name)) is not None}


def stop_of(fields: CommonFields) -> tuple[str, ...]:
    """The stop strings; an empty one would end every answer before its first character, so it is refused."""
    stop = fields.stop
    stops = () if stop is None else (stop,) if isinstance(stop, str) else tuple(stop)
    if len(stops) > _MAX_STOPS:
        raise InvalidField(f"`stop` has {len(stops)} strings; at most {_MAX_STOPS} are taken.", param="stop")
    if "" in stops:
        raise InvalidField("`stop` has an empty string.", param="stop")
    return stops


def refuse_given(fields: msgspec.Struct, names: tuple[str, ...]) -> None:
    """Refuse the first of these fields that is given and not empty."""
    for name in names:
        if getattr(fields, name):
            raise UnsupportedParameter(f"The field `{name}` is not supported.", param=name)
