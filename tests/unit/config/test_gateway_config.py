"""cortex.toml: defaults, overrides, and errors that name file, line and remedy."""

from pathlib import Path

import pytest

from cortex.config import catalogue_path, load_gateway, split_address
from cortex.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "cortex.toml"
    path.write_text(text)
    return path


def test_no_file_gives_a_gateway_on_loopback() -> None:
    loaded = load_gateway(None, {})
    assert loaded.config.gateway.listen == "127.0.0.1:31313"
    assert loaded.config.neurons == ()


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, '[gateway]\nlisten = "127.0.0.1:1"\n[eviction]\nstrategy = "lru"\n')
    environ = {"CORTEX_GATEWAY__LISTEN": "127.0.0.2:2", "CORTEX_EVICTION__DEFRAG_AFTER_CYCLES": "7"}
    config = load_gateway(path, environ).config
    assert config.gateway.listen == "127.0.0.2:2"
    assert config.eviction.defrag_after_cycles == 7


def test_lists_come_as_json_from_the_environment() -> None:
    config = load_gateway(None, {"CORTEX_NEURONS": '[{"name":"beast","endpoint":"http://beast:13131"}]'}).config
    assert config.neurons[0].name == "beast"


def test_variables_of_others_are_left_alone_but_near_misses_are_told() -> None:
    assert load_gateway(None, {"CORTEX_SIMD": "avx2"}).warnings == ()
    warnings = load_gateway(None, {"CORTEX_MODEL_CONFIG": "x"}).warnings
    assert "did you mean CORTEX_MODELS_CONFIG?" in warnings[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[gateway]\nlistne = "x"\n', ":2: unknown key 'listne'; did you mean 'listen'?"),
        ("[gateway]\n\nlisten = 5\n", ":3: gateway.listen: Expected `str`, got `int`"),
        ('[gateway]\nlisten = "nowhere"\n', "for example '127.0.0.1:31313'"),
        ('[gateway]\nlisten = "127.0.0.1:65536"\n', ":2: gateway.listen"),
        ("[[nodes]]\nname = 'a'\n", ":1: rename [[nodes]] to [[neurons]]"),
        ("[entitlements]\nrequire_auth = true\n", ":1: API keys are kept hashed now"),
        ("a = [\n", ": not valid TOML"),
        ('[eviction]\nstrategy = "random"\n', ":2: eviction.strategy: Invalid enum value 'random'; one of lru"),
        (
            '[[neurons]]\nname="a"\nendpoint="http://a:1"\n[[neurons]]\nname="b"\nendpont="http://b:1"\n',
            ":6: unknown key 'endpont'; did you mean 'endpoint'?",
        ),
        ('[[neurons]]\nname="a"\nendpoint="a:13131"\n', ":3: neurons.0.endpoint"),
        ("zzz = 1\n", "known here: gateway, eviction"),
        (
            '[[neurons]]\nname="a"\nendpoint="http://a:1"\n[[neurons]]\nname="a"\nendpoint="http://b:1"\n',
            "neuron 'a' is listed twice",
        ),
        (
            '[[neurons]]\nname="a"\nendpoint="http://a:1"\n[[neurons]]\nname="b"\nendpoint="http://a:1/"\n',
            "neurons 'a' and 'b' have the same endpoint",
        ),
    ],
)
def test_mistakes_name_line_and_remedy(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_gateway(path, {})
    assert str(path) in caught.value.message
    assert expected in caught.value.message


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"CORTEX_GATEWAY__LISTNE": "x"}, "did you mean GATEWAY__LISTEN?"),
        ({"CORTEX_EVICTION__DEFRAG_AFTER_CYCLES": "x"}, "Expected `int`"),
        ({"CORTEX_EVICTION__STRATEGY": "x"}, "CORTEX_EVICTION__STRATEGY: eviction.strategy"),
        ({"CORTEX_NEURONS__0__NAME": "x"}, "no such key"),
    ],
)
def test_mistakes_in_the_environment_name_the_variable(environ: dict[str, str], expected: str) -> None:
    with pytest.raises(ConfigError, match=next(iter(environ))) as caught:
        load_gateway(None, environ)
    assert expected in caught.value.message


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_gateway(tmp_path / "absent.toml", {})


def test_the_catalogue_stands_beside_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, 'models_config = "other.toml"\n')
    assert catalogue_path(load_gateway(path, {})) == tmp_path / "other.toml"
    path = write(tmp_path, "")
    assert catalogue_path(load_gateway(path, {})) is None
    (tmp_path / "models.toml").write_text("")
    assert catalogue_path(load_gateway(path, {})) == tmp_path / "models.toml"


def test_addresses_are_split() -> None:
    assert split_address("127.0.0.1:80") == ("127.0.0.1", 80)
    assert split_address("[::1]:80") == ("::1", 80)
    with pytest.raises(ConfigError, match="0 to 65535"):
        split_address("127.0.0.1:70000")
