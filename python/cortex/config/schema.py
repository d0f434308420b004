"""Walk a configuration schema: which struct or type stands at a path of keys."""

import types
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

__all__ = ["expectation", "field_names", "type_at"]


def type_at(schema: Any, steps: Sequence[str | int]) -> Any | None:
    """The type at `steps` below `schema`, or None where there is no such key."""
    current = _bare(schema)
    for step in steps:
        current = _child(current, step)
        if current is None:
            return None
    return current


def field_names(schema: Any, steps: Sequence[str | int]) -> list[str]:
    """The keys that may stand in the table at `steps`."""
    current = type_at(schema, steps)
    if isinstance(current, type) and issubclass(current, msgspec.Struct):
        return [field.encode_name for field in msgspec.structs.fields(current)]
    return []


def expectation(schema: Any, steps: Sequence[str | int]) -> str | None:
    """What may stand at `steps`, in words: the allowed values, or an example of the form."""
    current = type_at(schema, steps)
    if get_origin(current) is Literal:
        return f"one of {', '.join(str(value) for value in get_args(current))}"
    parent = type_at(schema, steps[:-1]) if steps else None
    if isinstance(parent, type) and issubclass(parent, msgspec.Struct):
        annotation = get_type_hints(parent, include_extras=True).get(str(steps[-1]))
        for meta in get_args(annotation)[1:] if get_origin(annotation) is Annotated else ():
            if isinstance(meta, msgspec.Meta) and meta.examples:
                return f"for example {meta.examples[0]!r}"
    return None


def _child(current: Any, step: str | int) -> Any | None:
    if isinstance(current, type) and issubclass(current, msgspec.Struct):
        hints = get_type_hints(current)
        return _bare(hints[step]) if isinstance(step, str) and step in hints else None
    arguments = get_args(current)
    if get_origin(current) is dict:
        return _bare(arguments[1])
    if get_origin(current) is tuple and arguments and not isinstance(step, str):
        return _bare(arguments[0])
    return None


def _bare(annotation: Any) -> Any:
    """Without Annotated and Optional."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [argument for argument in get_args(annotation) if argument is not type(None)]
        return _bare(inner[0]) if len(inner) == 1 else annotation
    return annotation
