"""Every configuration key is documented and read by code; nothing is accepted and ignored."""

import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from cortex.config import GatewayConfig, ModelsConfig, NeuronConfig
from tests.house.source_files import PACKAGE, ROOT

REFERENCE = ROOT / "docs" / "reference" / "configuration.md"


def structs_in(annotation: Any) -> list[type]:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return [annotation]
    return [found for argument in get_args(annotation) for found in structs_in(argument)]


def keys(schema: type) -> set[tuple[type, str]]:
    found: set[tuple[type, str]] = set()
    for name, annotation in get_type_hints(schema).items():
        inner = structs_in(annotation)
        found.add((schema, name))
        for struct in inner:
            found |= keys(struct)
    return found


ALL_KEYS = sorted(
    {(schema.__name__, name) for root in (GatewayConfig, ModelsConfig, NeuronConfig) for schema, name in keys(root)}
)


@pytest.mark.parametrize(("schema", "key"), ALL_KEYS)
def test_every_key_is_in_the_reference(schema: str, key: str) -> None:
    assert re.search(rf"\b{key}\b", REFERENCE.read_text()), f"{schema}.{key} is not documented"


def sources() -> dict[Path, str]:
    return {path: path.read_text() for path in PACKAGE.rglob("*.py") if "config" not in path.parts}


# The only legal value is candle; the loader itself refuses all others.
ONE_VALUE = {("HarnessEntry", "name"), ("ModelProfile", "harness"), ("DefaultModel", "harness")}

# Read where the files are, so that later code sees what they stand for.
AT_LOADING = {
    ("GatewayConfig", "models_config"),
    ("ModelProfile", "residency_priority"),
    ("NeuronPeer", "api_key_env"),
}


@pytest.mark.parametrize(("schema", "key"), sorted(set(ALL_KEYS) - ONE_VALUE))
def test_every_key_is_read_by_code(schema: str, key: str) -> None:
    if schema == "Cost":
        key = "cost"  # shown to clients as a whole
    if (schema, key) in AT_LOADING:
        text = "".join((PACKAGE / "config" / name).read_text() for name in ("models.py", "gateway.py", "peers.py"))
    else:
        text = "".join(sources().values())
    assert re.search(rf"\.{key}\b", text), f"{schema}.{key} is accepted but never read"
