"""inventory.toml: what it may say, and how its mistakes are told."""

import json
import runpy
from pathlib import Path

import pytest

from cortex.errors import ConfigError
from cortex.ops import export
from cortex.ops.deploy.inventory import Inventory, load_inventory, role_of

FLEET = """
[repositories.cortex]
baseurl = "https://packages.example.net/"
gpgkey = "https://packages.example.net/key"

[[hosts]]
name = "gate"
roles = ["gateway", "neuron"]
address = "gate.example.net"
user = "admin"
sudo = true
ssh_port = 2222

[[hosts]]
name = "beast"
roles = ["neuron"]
flavour = "cuda"
repositories = ["cortex"]
packages = ["libcudnn9-cuda-13"]
files = {"/etc/neuron/neuron.toml" = "neuron.toml"}
"""


def read(folder: Path, text: str) -> Inventory:
    (folder / "neuron.toml").write_text("port = 13131\n")
    path = folder / "inventory.toml"
    path.write_text(text)
    return load_inventory(path, {})


def test_roles_and_flavours_name_the_packages(tmp_path: Path) -> None:
    gate, beast = read(tmp_path, FLEET).hosts
    assert gate.ours == {"neuron": "helexa-neuron", "gateway": "cortex"}
    assert beast.ours == {"neuron": "helexa-neuron-cuda"}


def test_a_repository_becomes_a_file_for_dnf(tmp_path: Path) -> None:
    text = read(tmp_path, FLEET).repositories["cortex"].text("cortex")
    assert text.splitlines() == [
        "[cortex]",
        "name=cortex",
        "baseurl=https://packages.example.net/",
        "enabled=1",
        "gpgcheck=1",
        "gpgkey=https://packages.example.net/key",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "beast"', 'name = "gate"', "'gate' is listed twice"),
        ('repositories = ["cortex"]', 'repositories = ["cuda"]', r"no \[repositories.cuda\] is written"),
        ("/etc/neuron/neuron.toml", "/etc/passwd", "/etc/passwd is not a place for files"),
        ("/etc/neuron/neuron.toml", "/etc/neuron/../passwd", "is not a place for files"),
        ("/etc/neuron/neuron.toml", "/etc/cortex/cortex.toml", "is for a gateway, and it is none"),
        ('= "neuron.toml"', '= "absent.toml"', "absent.toml does not exist"),
        ('address = "gate.example.net"', 'address = "-oProxyCommand=touch"', "inventory.toml:9: hosts.0.address"),
        ('packages = ["libcudnn9-cuda-13"]', 'packages = ["a; reboot"]', "hosts.1.packages.0"),
        ('flavour = "cuda"', 'flavor = "cuda"', "unknown key 'flavor'; did you mean 'flavour'"),
        ('flavour = "cuda"', 'version = "1"', "hosts.1.version"),
    ],
)
def test_mistakes_are_told_with_their_remedy(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in FLEET
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, FLEET.replace(old, new))


def test_a_file_is_not_both_secret_and_not(tmp_path: Path) -> None:
    text = FLEET + 'secrets = {"/etc/neuron/neuron.toml" = "neuron.toml"}\n'
    with pytest.raises(ConfigError, match="both in files and in secrets"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("/etc/neuron/token", "neuron"),
        ("/etc/systemd/system/cortex.service.d/more.conf", "gateway"),
        ("/etc/neuron/", None),
        ("/etc/neuron/a b", None),
        ("/etc/neuron/$(reboot)", None),
        ("/etc/shadow", None),
    ],
)
def test_only_our_own_places_are_written(path: str, role: str | None) -> None:
    assert role_of(path) == role


def test_ansible_reaches_the_same_hosts(tmp_path: Path) -> None:
    told = json.loads(export.ansible(read(tmp_path, FLEET)))["all"]
    gate = told["hosts"]["gate"]
    assert (gate["ansible_host"], gate["ansible_user"], gate["ansible_port"]) == ("gate.example.net", "admin", 2222)
    assert gate["ansible_become"] is True
    assert list(told["children"]["neurons"]["hosts"]) == ["gate", "beast"]
    assert list(told["children"]["gateways"]["hosts"]) == ["gate"]
    assert told["hosts"]["beast"]["cortex_packages"] == ["helexa-neuron-cuda", "libcudnn9-cuda-13"]


def test_pyinfra_reaches_the_same_hosts(tmp_path: Path) -> None:
    path = tmp_path / "hosts.py"
    path.write_text(export.pyinfra(read(tmp_path, FLEET)))
    told = runpy.run_path(str(path))
    assert [name for name, _ in told["neurons"]] == ["gate.example.net", "beast"]
    assert told["gateways"][0][1]["ssh_port"] == 2222
    assert told["gateways"][0][1]["_sudo"] is True
