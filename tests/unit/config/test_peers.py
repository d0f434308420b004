"""`[[neurons]]`: our own daemons and other servers, their URLs and keys, and what makes no sense."""

from pathlib import Path
from typing import Any

import pytest

from cortex.config import GatewayConfig, NeuronPeer, load_gateway
from cortex.config.warnings import gateway_warnings
from cortex.errors import ConfigError

ENVIRON = {"SERVER_KEY": "sk-1\n"}


def peer(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> NeuronPeer:
    path = tmp_path / "cortex.toml"
    path.write_text(f'[[neurons]]\nname = "cloud"\n{text}\n')
    (found,) = load_gateway(path, environ or {}).config.neurons
    return found


@pytest.mark.parametrize(
    ("endpoint", "base"),
    [
        ("http://a:8000", "http://a:8000"),
        ("http://a:8000/v1/", "http://a:8000"),
        ("https://a/openai/v1", "https://a/openai"),
        ("https://a/openai/", "https://a/openai"),
    ],
)
def test_the_url_of_a_server_may_have_a_path_and_end_with_v1(tmp_path: Path, endpoint: str, base: str) -> None:
    found = peer(tmp_path, f'kind = "openai"\nendpoint = "{endpoint}"')
    assert (found.base, found.origin) == (base, "/".join(endpoint.split("/")[:3]))


def test_keys_stand_in_the_file_or_in_the_environment(tmp_path: Path) -> None:
    text = 'kind = "openai"\nendpoint = "http://a"\n'
    assert peer(tmp_path, text + 'api_key = "sk-0"').api_key == "sk-0"
    assert peer(tmp_path, text + 'api_key_env = "SERVER_KEY"', ENVIRON).api_key == "sk-1"
    assert peer(tmp_path, text + 'models = ["a/*"]').models == ("a/*",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('endpoint = "http://a:1/v1"', "without a path"),
        ('endpoint = "http://a:1"\napi_key = "x"', 'api_key is for kind = "openai" only'),
        ('endpoint = "http://a:1"\nmodels = ["x"]', 'models is for kind = "openai" only'),
        ('kind = "openai"\nendpoint = "http://a:1"\napi_key_env = "NO_SUCH"', "the environment has no NO_SUCH"),
        ('kind = "openai"\nendpoint = "http://a:1"\napi_key_env = "SERVER_KEY"\napi_key = "x"', "write one of them"),
        ('kind = "openai"\nendpoint = "http://user:pw@a"', "neurons.0.endpoint"),
        ('kind = "openia"\nendpoint = "http://a"', "one of neuron, openai"),
        (
            'endpoint = "http://a:1"\n[[neurons]]\nname = "b"\nkind = "openai"\nendpoint = "http://a:1/v1"',
            "same endpoint",
        ),
    ],
)
def test_what_makes_no_sense_is_an_error_with_a_remedy(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        peer(tmp_path, text, ENVIRON)


def test_a_far_server_needs_no_token_of_ours() -> None:
    def warned(**fields: Any) -> bool:
        one = NeuronPeer(name="far", endpoint="http://far.example", **fields)
        return any("far" in text for text in gateway_warnings(GatewayConfig(neurons=(one,)), keys=0, tokens=()))

    assert warned()
    assert not warned(kind="openai")
