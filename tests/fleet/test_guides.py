"""The commands of docs/guides, run as they are written, with the rig's names; at the end the fleet is as it was."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cortex.ops.starter import cached_starter
from tests.fleet.conftest import TOKEN, Fleet
from tests.fleet.rig.clients import MODEL
from tests.fleet.rig.guides import GUIDES, block, runs
from tests.fleet.rig.packages import NEW, OLD

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(1500)]
# People answer dnf's question; here nobody does.
DNF = 'dnf() { dnf5 -y "$@"; }\n'


@pytest.fixture(scope="module", autouse=True)
def as_it_was(deployed: Fleet) -> Iterator[None]:
    """Guides begin with nothing on a host; afterwards the rig's own inventory is deployed again."""
    deployed.publish(("cortex", NEW), ("helexa-neuron", NEW))
    yield
    deployed.publish(("cortex", NEW), ("helexa-neuron", NEW))
    status, hosts = deployed.deploy()
    assert status == 0, hosts


@pytest.fixture
def operator(deployed: Fleet, tmp_path: Path) -> Path:
    """A folder as the guide has it, and the guide's own inventory and cortex.toml in it, with the rig's addresses."""
    folder = tmp_path / "fleet"
    folder.mkdir()
    text = (GUIDES / "first-fleet.md").read_text()
    for name in ("inventory.toml", "cortex.toml"):
        content = text.partition(f"# fleet/{name}\n")[2].partition("```")[0]
        for host, machine in deployed.hosts.items():
            content = content.replace(f'address = "{host}.example.net"', f'address = "{host}"')
            content = content.replace(f"{host}.example.net", machine.address)
        content = content.replace("https://packages.example.net/key", "")
        content = content.replace('gpgkey = ""', "gpgcheck = false")
        (folder / name).write_text(content.replace("https://packages.example.net/", "file:///srv/repository"))
    (folder / "models.toml").write_text("")
    (folder / "neuron.toml").write_bytes((deployed.folder / "neuron.toml").read_bytes())
    return tmp_path


def shell(fleet: Fleet, folder: Path, script: str) -> str:
    """Run by the operator, in `folder`."""
    environ = {**os.environ, **fleet.environ, "XDG_STATE_HOME": str(folder / "state")}
    del environ["CORTEX_NEURON_TOKEN"]
    done = subprocess.run(
        ["bash", "-euc", script], cwd=folder, env=environ, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def reachable(address: str, port: int) -> bool:
    """From here."""
    try:
        socket.create_connection((address, port), 3).close()
    except OSError:
        return False
    return True


@runs("first-fleet.md:0", "first-fleet.md:1", "first-fleet.md:2", "first-fleet.md:3", "clients.md:2", "upgrade.md:0")
def test_the_first_fleet_from_nothing(deployed: Fleet, operator: Path) -> None:
    for name, package in (("gate", "cortex"), ("beast", "helexa-neuron"), ("quad", "helexa-neuron")):
        deployed.hosts[name].sh(
            f"dnf5 -y remove {package}; rm -rf /etc/cortex /etc/neuron /etc/yum.repos.d/cortex.repo"
        )
    shell(deployed, operator, block("first-fleet.md:0"))
    said = shell(deployed, operator, block("first-fleet.md:1"))
    assert "install helexa-neuron" in said, "the plan"
    key = deployed.hosts["gate"].sh(block("first-fleet.md:2"))
    places = {"http://gate.example.net:31313": f"http://{deployed.address}", "...": key}
    assert "Paris" in shell(deployed, operator, block("first-fleet.md:3", places))
    places = {"http://gate:31313": f"http://{deployed.address}", "KEY": key, "org/model": MODEL}
    assert json.loads(shell(deployed, operator, block("clients.md:2", places)))["choices"]
    said = shell(deployed, operator, block("upgrade.md:0"))
    assert said.count("unchanged") == 6, said


@runs("install-rpm.md:0", "install-rpm.md:2")
def test_a_gateway_by_hand(deployed: Fleet, tmp_path: Path) -> None:
    gate = deployed.hosts["gate"]
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "rpm").symlink_to(deployed.repository.path)
    shell(deployed, tmp_path, block("install-rpm.md:0"))
    gate.sh(f"dnf5 -y remove cortex; rm -rf /etc/cortex; {DNF} dnf --refresh install --best cortex")
    key = gate.sh(block("install-rpm.md:2")).splitlines()[-1]
    gate.until("systemctl is-active --quiet cortex.service")
    assert json.loads(gate.sh(f"CORTEX_API_KEY={key} cortex status --json -e http://127.0.0.1:31313"))


@runs("install-rpm.md:1", "install-rpm.md:3", "gpu-host.md:0", "upgrade.md:1")
def test_a_host_by_hand(deployed: Fleet) -> None:
    quad, new = deployed.hosts["quad"], deployed.repository.build(NEW)
    quad.sh("dnf5 -y remove helexa-neuron; rm -rf /etc/neuron")
    quad.sh(DNF + block("install-rpm.md:1"))
    token = f"printf {TOKEN} > /etc/neuron/token; chmod 640 /etc/neuron/token; chgrp neuron /etc/neuron/token"
    quad.sh(f"{token}\n{block('install-rpm.md:3')}")
    before = quad.show("neuron.service", "InvocationID")
    quad.sh(block("gpu-host.md:0"))
    assert "gpu-driver.conf" in quad.show("neuron.service", "DropInPaths")
    assert quad.show("neuron.service", "InvocationID") != before
    quad.sh("rm -r /etc/systemd/system/neuron.service.d; systemctl daemon-reload")
    deployed.publish(("cortex", NEW), ("helexa-neuron", NEW), ("helexa-neuron", OLD))
    quad.sh(f"dnf5 -y --refresh install helexa-neuron-{deployed.repository.build(OLD)}")
    quad.sh(DNF + block("install-rpm.md:1"))
    assert quad.build("helexa-neuron") == new
    number = quad.sh("dnf5 history list --json | tr -d ' \\n' | sed -n 's/^\\[{\"id\":\\([0-9]*\\).*/\\1/p'")
    assert number in quad.sh(DNF + block("upgrade.md:1", {"42": number}))
    assert quad.build("helexa-neuron") == deployed.repository.build(OLD)


@runs("install-wheel.md:0", "install-wheel.md:1")
def test_a_wheel_on_a_bare_host(deployed: Fleet) -> None:
    """Its Python has neither pip nor anything of ours; the index is a folder."""
    quad = deployed.hosts["quad"]
    model = (
        f"mkdir -p ~/.cache/cortex; ln -sfn /srv-models ~/.cache/cortex/models; ls /srv-models/{cached_starter().name}"
    )
    quad.sh(f"systemctl stop neuron; {model}; rm -rf dist; ln -s /srv/dist dist")
    *install, up = block("install-wheel.md:0").splitlines()
    quad.sh("\n".join(["set -e; export PIP_NO_INDEX=1 PIP_FIND_LINKS=/srv-wheels", *install]))
    quad.sh(f"nohup {up.partition('#')[0]} > up.log 2>&1 & echo $! > up.pid")
    quad.until("grep -q 'is loaded' up.log")
    assert "Paris" in quad.sh(block("install-wheel.md:1"))
    quad.sh("kill $(cat up.pid)")
    quad.until("! kill -0 $(cat up.pid) 2>/dev/null")


def test_cortex_up_of_the_gateways_package_runs_on_the_engine_beside_it(deployed: Fleet) -> None:
    gate = deployed.hosts["gate"]
    ports = "--listen 127.0.0.1:8080 --metrics-listen 127.0.0.1:0 --neuron-port 0"
    up = f"cortex up /srv-models/{cached_starter().name} {ports}"
    said = gate.sh(f"{up} 2>&1; echo status $?")
    assert "install helexa-neuron" in said
    assert said.endswith("status 1")
    gate.sh("dnf5 -y --refresh install helexa-neuron")
    gate.sh(f"nohup {up} > up.log 2>&1 & echo $! > up.pid")
    gate.until("grep -q 'is loaded' up.log")
    assert "Paris" in gate.sh("cortex validate -e http://127.0.0.1:8080")
    gate.sh("kill $(cat up.pid); dnf5 -y remove helexa-neuron; rm -rf /etc/neuron")


@runs("security.md:0", "security.md:1")
def test_firewalls_open_each_daemon_to_those_who_need_it(deployed: Fleet) -> None:
    gate, beast = deployed.hosts["gate"], deployed.hosts["beast"]
    network, gateway = f"{gate.address.rpartition('.')[0]}.0/24", gate.address
    assert reachable(beast.address, 13131)
    try:
        for machine in (gate, beast):
            machine.sh("systemctl start firewalld; firewall-cmd --state")
        assert not reachable(gate.address, 31313), "its default zone lets in ssh only"
        gate.sh(block("security.md:0", {"192.0.2.0/24": network}))
        beast.sh(block("security.md:1", {"192.0.2.11": gateway}))
        assert reachable(gate.address, 31313)
        assert not reachable(beast.address, 13131), "we are not the gateway"
        gate.sh(f"python3 -c 'import socket; socket.create_connection((\"{beast.address}\", 13131), 5)'")
    finally:
        for machine in (gate, beast):
            machine.sh("systemctl stop firewalld; rm -f /etc/firewalld/zones/*")
