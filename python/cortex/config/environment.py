"""Environment overrides: PREFIX_SECTION__KEY=value stands for key in [section]."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from cortex.config.schema import field_names, type_at
from cortex.errors import ConfigError

__all__ = ["Overrides", "apply_environment"]


class Overrides(NamedTuple):
    """Which variable set which path, and what to tell the operator."""

    names: dict[tuple[str, ...], str]
    warnings: tuple[str, ...]


def apply_environment(tree: dict[str, Any], schema: type, *, prefix: str, environ: Mapping[str, str]) -> Overrides:
    """Write the overrides into `tree`.

    A name with `__` must lead to a known key. One without it may belong to someone else, so a near miss of a
    top-level key is a warning and anything else is left alone.
    """
    warnings: list[str] = []
    names: dict[tuple[str, ...], str] = {}
    top = field_names(schema, ())
    for name in sorted(environ):
        if not name.startswith(prefix):
            continue
        steps = name.removeprefix(prefix).lower().split("__")
        if len(steps) == 1 and steps[0] not in top:
            near = difflib.get_close_matches(steps[0], top, n=1, cutoff=0.8)
            if near:
                warnings.append(f"{name} has no effect; did you mean {prefix}{near[0].upper()}?")
            continue
        _put(tree, steps, _value(name, environ[name], schema, steps))
        names[tuple(steps)] = name
    return Overrides(names, tuple(warnings))


def _value(name: str, text: str, schema: type, steps: Sequence[str]) -> Any:
    expected = type_at(schema, steps)
    if expected is None:
        raise ConfigError(f"{name}: no such key; {_nearest(schema, steps)}")
    if expected is str:
        return text
    try:
        if expected in (int, float, bool):
            return msgspec.convert(text, expected, strict=False)
        return msgspec.json.decode(text) if text[:1] in "[{" else text
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ConfigError(f"{name}={text!r}: {error}") from error


def _nearest(schema: type, steps: Sequence[str]) -> str:
    for depth in range(len(steps)):
        if type_at(schema, steps[: depth + 1]) is None:
            names = field_names(schema, steps[:depth])
            near = difflib.get_close_matches(steps[depth], names, n=1)
            if near:
                return f"did you mean {'__'.join((*steps[:depth], near[0])).upper()}?"
            return f"known here: {', '.join(names)}" if names else "lists are written as one JSON value"
    return "known keys are in the configuration reference"


def _put(tree: dict[str, Any], steps: Sequence[str], value: Any) -> None:
    for step in steps[:-1]:
        branch = tree.setdefault(step, {})
        if not isinstance(branch, dict):
            raise ConfigError(f"{'.'.join(steps)}: {step} is not a table in the file")
        tree = branch
    tree[steps[-1]] = value
