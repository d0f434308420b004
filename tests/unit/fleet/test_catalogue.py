"""Names become models: aliases, profiles, what hosts have, patterns, near names."""

import pytest

from cortex.config import ModelProfile, ModelsConfig
from cortex.errors import ModelNotFound
from cortex.fleet.catalogue import catalogue_of, known_models, resolve
from tests.unit.fleet.fleets import fleet, host, loaded

CATALOGUE = catalogue_of(
    ModelsConfig(
        models=(ModelProfile(id="Qwen/Qwen3-0.6B"), ModelProfile(id="smollm2")),
        aliases={"fast": "smollm2", "claude-*haiku*": "smollm2", "own": "local"},
    )
)
FLEET = fleet(host("beast", 100, models=(loaded("local", 10), loaded("smollm2", 10))))


@pytest.mark.parametrize(
    ("name", "id_", "listed"),
    [
        ("smollm2", "smollm2", True),
        ("fast", "smollm2", True),
        ("claude-3-haiku-1", "smollm2", True),
        ("local", "local", False),
        ("own", "local", False),
    ],
)
def test_a_name_becomes_a_model(name: str, id_: str, listed: bool) -> None:
    model = resolve(CATALOGUE, FLEET, name)
    assert (model.id, model.listed) == (id_, listed)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("qwen3-0.6b", "Qwen/Qwen3-0.6B"),
        ("qwen/qwen3-0.6", "Qwen/Qwen3-0.6B"),
        ("smollm2-135m-instruct", "smollm2"),
        ("SmolLM", "smollm2"),
        ("locl", "local"),
    ],
)
def test_an_unknown_name_is_told_its_neighbours(name: str, near: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        resolve(CATALOGUE, FLEET, name)
    assert near in caught.value.message
    assert near in caught.value.extras["nearest"]


def test_a_name_like_no_other_is_told_where_to_look() -> None:
    with pytest.raises(ModelNotFound, match="GET /v1/models"):
        resolve(CATALOGUE, FLEET, "zzzzzz" * 1000)


def test_every_model_is_known_once_in_a_stable_order() -> None:
    assert list(known_models(CATALOGUE, FLEET)) == ["Qwen/Qwen3-0.6B", "smollm2", "local", "fast", "own"]
