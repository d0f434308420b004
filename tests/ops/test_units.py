"""The systemd units: no unknown directive, and exposure within the limits, as systemd itself judges them."""

import configparser
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from cortex.config import GatewayConfig, NeuronConfig

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "rpm" / "systemd"
EXPOSURE = {"cortex.service": 1.2, "neuron.service": 1.8}


@pytest.fixture(scope="module")
def analyze() -> str:
    path = shutil.which("systemd-analyze")
    if path is None:
        pytest.skip("systemd-analyze is missing: apt-get install systemd, or: dnf install systemd")
    return path


def directives(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes=("#",))
    parser.optionxform = lambda key: key  # type: ignore[method-assign,assignment]
    parser.read(UNITS / name)
    return parser


def seconds(name: str, key: str) -> float:
    return float(directives(name)["Service"][key])


@pytest.mark.parametrize(("unit", "limit"), EXPOSURE.items())
def test_exposure_is_low(analyze: str, unit: str, limit: float) -> None:
    command = [analyze, "security", "--offline=true", "--no-pager", str(UNITS / unit)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", result.stdout)
    assert found, result.stdout + result.stderr
    assert float(found[1]) <= limit, result.stdout


def test_every_directive_is_known(analyze: str, tmp_path: Path) -> None:
    for unit in UNITS.glob("*.s*"):
        (tmp_path / unit.name).write_bytes(unit.read_bytes())
    drop_in = tmp_path / "neuron.service.d"
    drop_in.mkdir()
    shutil.copy(UNITS / "drop-ins" / "gpu-driver.conf", drop_in)
    command = [analyze, "verify", "--man=no", *(str(tmp_path / unit.name) for unit in UNITS.glob("*.s*"))]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    ours = [line for line in result.stderr.splitlines() if str(tmp_path) in line]
    assert ours == [], result.stderr


@pytest.mark.parametrize("unit", sorted(EXPOSURE))
def test_a_stop_leaves_time_for_the_drain(unit: str) -> None:
    drain = GatewayConfig().gateway.drain_secs if unit == "cortex.service" else NeuronConfig().drain_secs
    assert seconds(unit, "TimeoutStopSec") >= drain + 20


@pytest.mark.parametrize("unit", sorted(EXPOSURE))
def test_a_flapping_unit_fails_before_it_flaps_for_long(unit: str) -> None:
    limits = directives(unit)["Unit"]
    longest = int(limits["StartLimitBurst"]) * (seconds(unit, "RestartSec") + seconds(unit, "TimeoutStartSec"))
    assert longest < int(limits["StartLimitIntervalSec"]), "restarts are so slow that the limit never counts them"


@pytest.mark.parametrize(("name", "ports"), [("cortex.xml", ["31313", "31314"]), ("helexa-neuron.xml", ["13131"])])
def test_the_firewall_services_name_our_ports(name: str, ports: list[str]) -> None:
    service = ET.parse(ROOT / "rpm" / "firewalld" / name).getroot()
    assert [(port.get("protocol"), port.get("port")) for port in service.iter("port")] == [("tcp", p) for p in ports]


def test_the_socket_is_where_the_packaged_configuration_listens() -> None:
    text = (ROOT / "rpm" / "config" / "cortex.toml").read_text()
    address = directives("cortex.socket")["Socket"]["ListenStream"]
    assert f'listen = "{address}"' in text.splitlines()
