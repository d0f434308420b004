"""models.toml and neuron.toml, and the examples that we ship."""

from pathlib import Path

import pytest

from cortex.config import catalogue_path, load_gateway, load_models, load_neuron
from cortex.errors import ConfigError

EXAMPLES = Path(__file__).resolve().parents[3] / "rpm" / "config"


def write(folder: Path, text: str) -> Path:
    path = folder / "file.toml"
    path.write_text(text)
    return path


def test_shipped_examples_load_and_refer_to_each_other() -> None:
    gateway = load_gateway(EXAMPLES / "cortex.toml", {})
    models = load_models(catalogue_path(gateway), {})
    neuron = load_neuron(EXAMPLES / "neuron.toml", {})
    names = {peer.name for peer in gateway.config.neurons}
    assert names == {"beast", "quadbrat"}
    ids = {profile.id for profile in models.config.models}
    assert set(models.config.aliases.values()) <= ids
    assert all(set(profile.pinned_on) <= names for profile in models.config.models)
    assert {model.model_id for model in neuron.config.default_models} <= ids
    assert gateway.warnings == models.warnings == neuron.warnings == ()


def test_pinning_raises_the_priority_class(tmp_path: Path) -> None:
    text = '[[models]]\nid="a"\npinned_on=["beast"]\n[[models]]\nid="b"\n[[models]]\nid="c"\nresidency_priority=7\n'
    models = load_models(write(tmp_path, text), {}).config.models
    assert [profile.priority for profile in models] == [1000, 100, 7]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[[models]]\nid="a"\n[[models]]\nid="a"\n', "model 'a' is listed twice"),
        ('[[models]]\nid="a"\n[aliases]\na="b"\n', "alias 'a' is also the id of a model"),
        ('[[models]]\nid="a"\n[models.limit]\ncontxt=3\n', ":4: unknown key 'contxt'; did you mean 'context'?"),
        ('[[models]]\nid="a"\nharness="other"\n', "one of candle"),
        ('[[models]]\nid="a"\nmin_devices=0\n', "models.0.min_devices"),
    ],
)
def test_catalogue_mistakes(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_models(write(tmp_path, text), {})
    assert expected in caught.value.message


def test_a_neuron_without_sections_still_runs_candle(tmp_path: Path) -> None:
    config = load_neuron(write(tmp_path, ""), {"NEURON_PORT": "14000"}).config
    assert config.port == 14000
    assert [entry.name for entry in config.harnesses] == ["candle"]


def test_keys_of_the_original_without_meaning_are_told(tmp_path: Path) -> None:
    text = "[harness.candle.prefix_cache]\nenabled = true\n[harness.candle.admission]\nmax_per_principal = 2\n"
    loaded = load_neuron(write(tmp_path, text), {})
    assert "prefix_cache has no effect" in loaded.warnings[0]
    assert ":4: harness.candle.admission.max_per_principal has no effect" in loaded.warnings[1]


def test_a_syntax_error_stops_the_neuron(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=":2: not valid TOML"):
        load_neuron(write(tmp_path, "port = 1\nport =\n"), {})
