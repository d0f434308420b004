"""`cortex up`: which model is meant, what the two daemons get as configuration, and a port that is taken."""

import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from cortex.cli.services import start_logging, with_addresses
from cortex.cli.up import Chosen, UpOptions, _neuron_config, choose_model
from cortex.config import GatewayConfig
from cortex.errors import ConfigError, SourceNotFound


def test_a_file_is_called_like_itself_or_as_asked(tmp_path: Path) -> None:
    file = tmp_path / "tiny.Q4_1.gguf"
    file.touch()
    assert choose_model(str(file), None) == Chosen(id="tiny.Q4_1", source=str(file))
    assert choose_model(str(file), "mine").name == "mine"


def test_a_folder_keeps_the_dots_of_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "model-1.5"
    folder.mkdir()
    assert choose_model(str(folder), None) == Chosen(id="model-1.5", source=str(folder))


def test_a_packages_file_keeps_its_source() -> None:
    assert choose_model("package:weights/tiny.gguf", None) == Chosen(id="tiny", source="package:weights/tiny.gguf")


def test_anything_else_is_a_repository_and_a_name_its_alias() -> None:
    assert choose_model("org/model", None) == Chosen(id="org/model", source=None)
    named = choose_model("org/model", "short")
    assert (named.id, named.alias, named.name) == ("org/model", "short", "short")
    assert choose_model("org/model", "org/model").alias is None


@pytest.mark.parametrize("path", ["/nowhere/model", "./model", "../model", "~/nowhere", "org/model.gguf"])
def test_a_path_without_a_file_is_no_repository(path: str) -> None:
    with pytest.raises(SourceNotFound, match="does not exist"):
        choose_model(path, None)


def test_the_neuron_gets_the_model_the_port_and_the_threads() -> None:
    asked = UpOptions(
        model="org/model",
        name=None,
        quant="Q8_0",
        listen="127.0.0.1:0",
        metrics_listen="127.0.0.1:0",
        neuron_port=4711,
        threads=3,
        log_level="info",
        log_format="text",
    )
    config = _neuron_config(asked, Chosen(id="org/model", source=None))
    assert (config.host, config.port, config.harness.candle.threads) == ("127.0.0.1", 4711, 3)
    (model,) = config.default_models
    assert (model.model_id, model.source, model.quant) == ("org/model", None, "Q8_0")


def test_addresses_of_the_command_line_win() -> None:
    config = with_addresses(GatewayConfig(), listen="127.0.0.1:1", metrics_listen=None)
    assert config.gateway.listen == "127.0.0.1:1"
    assert config.gateway.metrics_listen == GatewayConfig().gateway.metrics_listen


@pytest.mark.parametrize("option", ["listen", "metrics_listen"])
@pytest.mark.parametrize("address", ["here", "127.0.0.1:"])
def test_an_address_that_is_none_is_named_with_its_option(option: str, address: str) -> None:
    addresses = {"listen": None, "metrics_listen": None, option: address}
    with pytest.raises(ConfigError, match=f"--{option.replace('_', '-')} {address}"):
        with_addresses(GatewayConfig(), **addresses)


@pytest.mark.parametrize(
    ("level", "style", "named"), [("loud", "text", "--log-level"), ("info", "xml", "--log-format")]
)
def test_a_wrong_word_for_the_logs_is_answered_with_the_choices(level: str, style: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        start_logging(level, style)


@pytest.mark.parametrize("option", ["--listen", "--metrics-listen", "--neuron-port"])
def test_a_taken_port_is_named(option: str, tmp_path: Path) -> None:
    file = tmp_path / "empty.gguf"
    file.touch()
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        where = {"--listen": "127.0.0.1:0", "--metrics-listen": "127.0.0.1:0", "--neuron-port": "0"}
        where[option] = port if option == "--neuron-port" else f"127.0.0.1:{port}"
        words = [word for pair in where.items() for word in pair]
        command = [sys.executable, "-m", "cortex.cli.cortex", "up", str(file), *words]
        result = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert result.returncode == 1
    assert port in result.stderr
    assert "Traceback" not in result.stderr
