"""Decoding a request body: JSON to a wire struct, or an error that names the field."""

import re
from typing import TypeVar

import msgspec

from cortex.errors import InvalidField, MalformedJson, RequestError, UnsupportedParameter

__all__ = ["field_error", "parse_body"]

T = TypeVar("T")

_PLACE = re.compile(r" - at `(?:key in )?\$\.?(?P<path>.*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<name>.*)`$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(?P<name>.*)`$", re.DOTALL)


def parse_body(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """The body as the decoder's type.

    Raises MalformedJson, InvalidField (wrong type or value, missing) and UnsupportedParameter (a field or a kind of
    part that the wire struct does not know).
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as exc:
        raise field_error(str(exc)) from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise MalformedJson(f"The body is not valid JSON: {exc}.") from exc
    except RecursionError as exc:
        raise MalformedJson("The body is nested too deeply.") from exc


def field_error(text: str, base: str = "") -> RequestError:
    """The error class for one message of msgspec's validation; `param` is the path without the leading `$`.

    `base` is where the validated value stands in the body.
    """
    place = _PLACE.search(text)
    path = place["path"] if place else ""
    path = _join(base, path) if path and base else base or path
    reason = text[: place.start()] if place else text
    if unknown := _UNKNOWN.match(reason):
        param = _join(path, unknown["name"])
        return UnsupportedParameter(f"The field `{param}` is not supported.", param=param)
    if missing := _MISSING.match(reason):
        param = _join(path, missing["name"])
        return InvalidField(f"The field `{param}` is required.", param=param)
    if reason.startswith("Invalid value") and path.endswith("type"):
        return UnsupportedParameter(f"`{path}`: {reason[8:].strip()} is not supported.", param=path)
    if not path:
        return InvalidField(f"The body is wrong: {reason}.")
    return InvalidField(f"`{path}`: {reason}.", param=path)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
