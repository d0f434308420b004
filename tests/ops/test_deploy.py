"""`cortex deploy` against pretended hosts: what is installed, upgraded, left alone, refused and taken back."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cortex.gateway.access import _MISSING
from cortex.ops.deploy.checks import ASKS_FOR_KEY
from tests.fakes.hosts import NEW, OLD, FakeFleet

CONFIG = "port = 13131\n"
INVENTORY = """
[repositories.cortex]
baseurl = "https://packages.example.net/$releasever"
gpgcheck = false

[rollout]
batch = 2
wait_secs = 5

[[hosts]]
name = "gate"
roles = ["gateway"]
repositories = ["cortex"]
files = {"/etc/cortex/cortex.toml" = "cortex.toml"}

[[hosts]]
name = "beast"
roles = ["neuron"]
repositories = ["cortex"]
packages = ["libcudnn9-cuda-13"]
files = {"/etc/neuron/neuron.toml" = "neuron.toml"}
secrets = {"/etc/neuron/token" = "token"}

[[hosts]]
name = "quad"
roles = ["neuron"]
repositories = ["cortex"]
files = {"/etc/neuron/neuron.toml" = "neuron.toml"}
"""


HOSTS = ("gate", "beast", "quad")


def fleet_in(folder: Path) -> FakeFleet:
    """The hosts of the inventory, bare, and what they can be given."""
    fleet = FakeFleet(folder, HOSTS)
    for package, build in (("helexa-neuron", OLD), ("cortex", OLD), ("libcudnn9-cuda-13", "9.1-1")):
        fleet.publish(package, build)
    (folder / "inventory.toml").write_text(INVENTORY)
    (folder / "cortex.toml").write_text('[gateway]\nlisten = "0.0.0.0:31313"\n')
    (folder / "neuron.toml").write_text(CONFIG)
    (folder / "token").write_text("0123456789abcdef\n")
    return fleet


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeFleet:
    fleet = fleet_in(tmp_path)
    for name, value in fleet.environ.items():
        monkeypatch.setenv(name, value)
    return fleet


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fleet after its first deployment."""
    folder = tmp_path_factory.mktemp("deployed")
    fleet = fleet_in(folder)
    subprocess.run(command(folder), env={**os.environ, **fleet.environ}, check=True, timeout=50)
    for host in fleet.hosts.values():
        host.journal()
    return folder


@pytest.fixture
def deployed(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeFleet:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True, symlinks=True)
    fleet = FakeFleet(tmp_path, HOSTS)
    for name, value in fleet.environ.items():
        monkeypatch.setenv(name, value)
    return fleet


def command(folder: Path, *options: str) -> list[str]:
    arguments = ["deploy", str(folder / "inventory.toml"), "--json", "--logs", str(folder / "logs"), *options]
    return [sys.executable, "-m", "cortex.cli.cortex", *arguments]


def deploy(folder: Path, *options: str) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Status, hosts by name, the whole report."""
    done = subprocess.run(command(folder, *options), capture_output=True, text=True, timeout=50, check=False)
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    return done.returncode, {host["name"]: host for host in report["hosts"]}, report


def test_a_fresh_fleet_is_installed_configured_enabled_and_validated(fleet: FakeFleet, tmp_path: Path) -> None:
    status, hosts, _ = deploy(tmp_path)
    assert status == 0
    assert {host["state"] for host in hosts.values()} == {"changed"}
    beast, gate = fleet.hosts["beast"], fleet.hosts["gate"]
    assert beast.installed == {"helexa-neuron": OLD, "libcudnn9-cuda-13": "9.1-1"}
    assert gate.installed == {"cortex": OLD}
    assert beast.text("/etc/neuron/neuron.toml") == CONFIG
    assert (beast.folder / "etc/neuron/token").stat().st_mode & 0o777 == 0o640
    assert "gpgcheck=0" in beast.text("/etc/yum.repos.d/cortex.repo")
    assert beast.unit("neuron.service") == {"active", "enabled"}
    assert beast.journal() == [
        "check",
        f"enable neuron.service {OLD}",
        f"restart neuron.service {OLD}",
        "validate",
    ]
    assert gate.journal()[-2:] == ["status", "validate"], "the fleet is validated from its gateway at the end"


def test_a_second_deployment_touches_nothing_and_restarts_nothing(deployed: FakeFleet, tmp_path: Path) -> None:
    before = {name: host.everything() for name, host in deployed.hosts.items()}
    status, hosts, _ = deploy(tmp_path)
    assert status == 0
    assert {host["state"] for host in hosts.values()} == {"unchanged"}
    assert {name: host.everything() for name, host in deployed.hosts.items()} == before


def test_an_upgrade_drains_stops_installs_starts_validates_and_gives_back(deployed: FakeFleet, tmp_path: Path) -> None:
    deployed.publish("helexa-neuron", OLD, NEW)
    status, hosts, _ = deploy(tmp_path)
    assert status == 0
    assert [name for name, host in hosts.items() if host["state"] == "changed"] == ["beast", "quad"]
    assert {deployed.hosts[name].installed["helexa-neuron"] for name in ("beast", "quad")} == {NEW}
    stopped, restarted = f"stop neuron.service {OLD}", f"restart neuron.service {NEW}"
    assert deployed.hosts["beast"].journal() == [stopped, restarted, "validate"]
    done = deployed.hosts["gate"].journal()
    assert done == ["drain beast", "uncordon beast", "drain quad", "uncordon quad", "validate"], "one goes first"


def test_one_host_that_was_left_behind_is_brought_up_alone(deployed: FakeFleet, tmp_path: Path) -> None:
    deployed.publish("helexa-neuron", OLD, NEW)
    assert deploy(tmp_path)[0] == 0
    quad = deployed.hosts["quad"]
    quad.install("helexa-neuron", OLD)
    deployed.hosts["beast"].journal()
    status, hosts, _ = deploy(tmp_path)
    assert (status, hosts["quad"]["state"], hosts["beast"]["state"]) == (0, "changed", "unchanged")
    assert deployed.hosts["beast"].journal() == []
    assert quad.installed == {"helexa-neuron": NEW}


def test_the_plan_is_shown_without_a_change(fleet: FakeFleet, tmp_path: Path) -> None:
    status, hosts, _ = deploy(tmp_path, "--check")
    assert status == 0
    assert hosts["beast"]["state"] == "planned"
    assert hosts["beast"]["actions"] == [
        "add repository cortex",
        "install helexa-neuron newest",
        "install libcudnn9-cuda-13",
        "place /etc/neuron/neuron.toml",
        "place /etc/neuron/token",
        "enable neuron.service",
        "start neuron.service",
    ]
    assert fleet.hosts["beast"].everything() == {}


def test_a_changed_file_restarts_only_its_service(deployed: FakeFleet, tmp_path: Path) -> None:
    (tmp_path / "cortex.toml").write_text('[gateway]\nlisten = "127.0.0.1:31313"\n')
    status, hosts, _ = deploy(tmp_path)
    assert status == 0
    assert hosts["gate"]["actions"] == ["place /etc/cortex/cortex.toml", "restart cortex.service"]
    assert {hosts[name]["state"] for name in ("beast", "quad")} == {"unchanged"}
    assert deployed.hosts["gate"].journal()[:2] == ["check", f"restart cortex.service {OLD}"]


def test_a_bad_configuration_is_refused_before_it_goes_live(deployed: FakeFleet, tmp_path: Path) -> None:
    (tmp_path / "neuron.toml").write_text("nonsense = 1\n")
    status, hosts, _ = deploy(tmp_path)
    assert status == 1
    assert hosts["beast"]["state"] == "failed"
    assert "unknown key 'nonsense'" in hosts["beast"]["error"]
    assert hosts["quad"]["state"] == "not started"
    assert deployed.hosts["beast"].text("/etc/neuron/neuron.toml") == CONFIG
    assert not [done for done in deployed.hosts["beast"].journal() if done.startswith(("stop", "restart"))]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (f"neuron.service does not start {NEW}", "restart failed"),
        (f"answers nonsense {NEW}", "got Rome"),
    ],
)
def test_a_new_version_that_fails_is_taken_back_and_stops_the_rest(
    deployed: FakeFleet, tmp_path: Path, fault: str, reason: str
) -> None:
    beast, quad = deployed.hosts["beast"], deployed.hosts["quad"]
    beast.faults(fault)
    deployed.publish("helexa-neuron", OLD, NEW)
    (tmp_path / "neuron.toml").write_text("port = 13131\ndrain_secs = 10\n")
    status, hosts, _ = deploy(tmp_path)
    assert status == 1
    assert hosts["beast"]["state"] == "rolled back"
    assert reason in hosts["beast"]["error"]
    assert hosts["quad"]["state"] == "not started"
    assert beast.installed["helexa-neuron"] == quad.installed["helexa-neuron"] == OLD
    assert beast.text("/etc/neuron/neuron.toml") == CONFIG
    assert "active" in beast.unit("neuron.service")
    assert beast.journal()[-1] == f"restart neuron.service {OLD}"
    assert deployed.hosts["gate"].journal() == ["drain beast", "uncordon beast"]


def test_what_cannot_be_taken_back_is_said(deployed: FakeFleet, tmp_path: Path) -> None:
    deployed.hosts["beast"].faults(f"answers nonsense {NEW}", "undo fails")
    deployed.publish("helexa-neuron", NEW)
    status, hosts, _ = deploy(tmp_path)
    assert (status, hosts["beast"]["state"]) == (1, "failed")
    assert "look at this host" in hosts["beast"]["notes"][-1]


def test_a_repository_that_is_down_fails_its_host_and_no_other(deployed: FakeFleet, tmp_path: Path) -> None:
    deployed.hosts["beast"].faults("repository down")
    deployed.publish("helexa-neuron", OLD, NEW)
    status, hosts, _ = deploy(tmp_path)
    assert status == 1
    assert hosts["beast"]["state"] == "failed"
    assert "Could not connect" in hosts["beast"]["error"]
    assert "Could not connect" in Path(hosts["beast"]["log"]).read_text()
    assert hosts["quad"]["state"] == "changed"


def test_a_package_that_one_host_is_not_offered_fails_only_there(fleet: FakeFleet, tmp_path: Path) -> None:
    fleet.hosts["quad"].offers("helexa-neuron")
    status, hosts, _ = deploy(tmp_path)
    assert status == 1
    assert "no repository offers helexa-neuron" in hosts["quad"]["error"]
    assert {hosts[name]["state"] for name in ("gate", "beast")} == {"changed"}


def test_a_recommended_package_that_nobody_publishes_is_said_and_holds_up_nothing(
    fleet: FakeFleet, tmp_path: Path
) -> None:
    fleet.publish("libcudnn9-cuda-13")
    status, hosts, _ = deploy(tmp_path)
    assert (status, hosts["beast"]["state"]) == (0, "changed")
    assert "libcudnn9-cuda-13 could not be installed" in hosts["beast"]["notes"][0]
    assert fleet.hosts["beast"].installed == {"helexa-neuron": OLD}


def test_an_unreachable_host_fails_and_the_others_go_on(fleet: FakeFleet, tmp_path: Path) -> None:
    (fleet.hosts["beast"].folder / "down").touch()
    status, hosts, _ = deploy(tmp_path)
    assert status == 1
    assert "No route to host" in hosts["beast"]["error"]
    assert {hosts[name]["state"] for name in ("gate", "quad")} == {"changed"}


def test_a_version_that_is_asked_for_is_installed_even_if_it_is_older(deployed: FakeFleet, tmp_path: Path) -> None:
    deployed.publish("helexa-neuron", OLD, NEW)
    assert deploy(tmp_path)[0] == 0
    text = INVENTORY.replace('name = "quad"', f'name = "quad"\nversion = "{OLD}"')
    (tmp_path / "inventory.toml").write_text(text)
    status, hosts, _ = deploy(tmp_path)
    assert (status, hosts["beast"]["state"]) == (0, "unchanged")
    assert hosts["quad"]["actions"][0] == f"downgrade helexa-neuron {NEW} -> {OLD}"
    assert deployed.hosts["quad"].installed == {"helexa-neuron": OLD}


def test_a_gateway_that_does_not_cordon_is_noted(deployed: FakeFleet, tmp_path: Path) -> None:
    deployed.hosts["gate"].faults("drain fails")
    deployed.publish("helexa-neuron", OLD, NEW)
    status, hosts, _ = deploy(tmp_path)
    assert status == 0
    assert hosts["beast"]["notes"] == ["gateway gate did not cordon it; its own drain has to do"]


def test_a_gateway_that_asks_for_keys_is_given_one_for_as_long_as_it_is_asked(
    deployed: FakeFleet, tmp_path: Path
) -> None:
    """Nobody has a key of a gateway that is only now installed."""
    gate = deployed.hosts["gate"]
    gate.faults("asks for a key")
    deployed.publish("cortex", NEW)
    deployed.publish("helexa-neuron", NEW)
    status, hosts, report = deploy(tmp_path)
    assert (status, report["fleet"]) == (0, []), hosts
    assert [hosts[name]["notes"] for name in HOSTS] == [[], [], []], "the neurons were drained"
    said = gate.journal()
    assert said.count("keys add") == said.count("keys revoke") == 6, "two drained and given back, itself, the fleet"
    assert said[-1] == "keys revoke"


def test_a_gateway_says_that_it_asks_for_a_key_as_deployment_expects() -> None:
    assert ASKS_FOR_KEY in _MISSING


def test_a_host_that_stays_cordoned_is_a_failure_and_not_taken_back(deployed: FakeFleet, tmp_path: Path) -> None:
    deployed.hosts["gate"].faults("uncordon fails")
    deployed.publish("helexa-neuron", OLD, NEW)
    status, hosts, _ = deploy(tmp_path)
    assert (status, hosts["beast"]["state"], hosts["quad"]["state"]) == (1, "failed", "not started")
    assert hosts["beast"]["notes"] == ["still cordoned at gate: cortex uncordon beast"]
    assert deployed.hosts["beast"].installed["helexa-neuron"] == NEW


def test_an_interrupt_finishes_the_host_under_way_and_begins_no_other(deployed: FakeFleet, tmp_path: Path) -> None:
    deployed.publish("helexa-neuron", OLD, NEW)
    process = subprocess.Popen(command(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "beast: upgrade" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=50)
    report = json.loads(out)
    assert process.returncode == 130
    assert report["interrupted"] is True
    states = {host["name"]: host["state"] for host in report["hosts"]}
    assert states == {"gate": "unchanged", "beast": "changed", "quad": "not started"}
    assert deployed.hosts["beast"].installed["helexa-neuron"] == NEW
    assert deployed.hosts["quad"].installed["helexa-neuron"] == OLD
    assert deployed.hosts["gate"].journal()[:2] == ["drain beast", "uncordon beast"]


def test_nothing_to_do_takes_two_scripts_a_host(deployed: FakeFleet, tmp_path: Path) -> None:
    before = deployed.sessions()
    assert deploy(tmp_path)[0] == 0
    assert deployed.sessions() - before == 6
