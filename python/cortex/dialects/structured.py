"""Structured output: what an answer must look like, from the several ways in which clients say it."""

from typing import Any, Literal

import msgspec

from cortex.dialects.sampling_fields import SamplingFields
from cortex.errors import InvalidField

__all__ = ["GuidedFields", "Structure", "StructuredOutputs", "structure_fields", "structure_of", "structure_of_format"]

Kind = Literal["json_schema", "regex", "choice", "lark"]
_ANY_OBJECT = '{"type":"object"}'


class Structure(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer must look like. `text` is a JSON schema, a regular expression, a JSON list of texts or a Lark
    grammar; `field` is the client's name for it."""

    kind: Kind
    text: str
    field: str


class StructuredOutputs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`structured_outputs`, as users of vLLM know it; one of its fields is given. `grammar` is Lark."""

    json: str | dict[str, Any] | None = None
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None


class GuidedFields(SamplingFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of a body that constrain its answer, beside those of sampling; the `guided_` ones are vLLM's older
    spelling."""

    structured_outputs: StructuredOutputs | None = None
    guided_json: str | dict[str, Any] | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None


def structure_of(fields: GuidedFields) -> Structure | None:
    """The constraint that a body states, if one. Raises InvalidField for two at once."""
    outputs = fields.structured_outputs or StructuredOutputs()
    given: tuple[tuple[Kind, str, str | None], ...] = (
        ("json_schema", "structured_outputs.json", _schema(outputs.json)),
        ("regex", "structured_outputs.regex", outputs.regex),
        ("choice", "structured_outputs.choice", _texts(outputs.choice)),
        ("lark", "structured_outputs.grammar", outputs.grammar),
        ("json_schema", "structured_outputs.json_object", _ANY_OBJECT if outputs.json_object else None),
        ("json_schema", "guided_json", _schema(fields.guided_json)),
        ("regex", "guided_regex", fields.guided_regex),
        ("choice", "guided_choice", _texts(fields.guided_choice)),
        ("lark", "guided_grammar", fields.guided_grammar),
    )
    found = [Structure(kind=kind, text=text, field=field) for kind, field, text in given if text is not None]
    if len(found) > 1:
        names = " and ".join(f"`{structure.field}`" for structure in found)
        raise InvalidField(f"{names} cannot be given together.", param=found[1].field)
    return found[0] if found else None


def structure_of_format(response_format: dict[str, Any] | None) -> Structure | None:
    """The constraint of an OpenAI `response_format`: any object, or one that fits the schema."""
    if response_format is None:
        return None
    described = response_format.get("json_schema")
    text = _ANY_OBJECT if described is None else msgspec.json.encode(described["schema"]).decode()
    return Structure(kind="json_schema", text=text, field="response_format")


def structure_fields(structure: Structure | None) -> dict[str, Any] | None:
    """`structured_outputs` for an upstream."""
    if structure is None:
        return None
    name = {"json_schema": "json", "lark": "grammar"}.get(structure.kind, structure.kind)
    plain = structure.kind in ("regex", "lark")
    return {name: structure.text if plain else msgspec.Raw(structure.text.encode())}


def _schema(schema: str | dict[str, Any] | None) -> str | None:
    return msgspec.json.encode(schema).decode() if isinstance(schema, dict) else schema


def _texts(choices: list[str] | None) -> str | None:
    return None if choices is None else msgspec.json.encode(choices).decode()
