"""Deployment on hosts that boot, in the order in which a fleet lives: each test starts where the last one ended."""

import time

import pytest

from tests.fleet.conftest import NEURON, Fleet
from tests.fleet.rig.packages import BROKEN, NEW, OLD

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(1500)]


UNITS = {"gate": "cortex.service", "beast": "neuron.service", "quad": "neuron.service"}
LARGEST = 150_000_000


def started(fleet: Fleet) -> dict[str, str]:
    """Which run of each service this is."""
    return {name: fleet.hosts[name].show(unit, "InvocationID") for name, unit in UNITS.items()}


@pytest.mark.short
def test_a_fresh_fleet_of_three(fleet: Fleet) -> None:
    status, hosts = fleet.deploy()
    assert status == 0, hosts
    assert {hosts[name]["state"] for name in ("gate", "beast", "quad")} == {"changed"}
    assert fleet.hosts["beast"].build("helexa-neuron") == fleet.repository.build(OLD)
    assert fleet.hosts["beast"].sh("stat -c %a:%U:%G /etc/neuron/token") == "640:root:neuron"
    assert fleet.hosts["gate"].sh("systemctl is-enabled cortex.socket cortex.service") == "enabled\nenabled"


@pytest.mark.short
@pytest.mark.parametrize(("name", "package"), [("gate", "cortex"), ("beast", "helexa-neuron")])
def test_a_package_is_small_and_its_service_is_ready_before_its_models(fleet: Fleet, name: str, package: str) -> None:
    machine, unit = fleet.hosts[name], UNITS[name]
    size = int(machine.sh(f"rpm -q --qf '%{{longsize}}' {package}"))
    machine.sh(f"systemctl restart {unit}")
    begun, ready = (
        int(machine.show(unit, key)) for key in ("ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic")
    )
    print(f"{package}: installed {size / 1e6:.0f} MB, from start to READY {(ready - begun) / 1e6:.2f} s")
    assert size < LARGEST
    assert ready > begun
    if name == "beast":
        fleet.until(lambda: "beast" in fleet.loaded(), "its model is loaded after that")


@pytest.mark.short
def test_again_changes_nothing_and_restarts_nothing(fleet: Fleet) -> None:
    before = started(fleet)
    start = time.monotonic()
    status, hosts = fleet.deploy()
    print(f"nothing to do on three hosts: {time.monotonic() - start:.1f} s")
    assert (status, {hosts[name]["state"] for name in before}) == (0, {"unchanged"})
    assert started(fleet) == before


def test_dnf_install_alone_would_have_left_the_old_build(fleet: Fleet) -> None:
    """The fault that this project began with, and that `--best` mends."""
    fleet.publish(*((name, release) for name in ("cortex", "helexa-neuron") for release in (OLD, NEW)))
    said = fleet.hosts["quad"].sh("dnf5 -y --refresh install helexa-neuron 2>&1")
    assert "Nothing to do" in said
    assert fleet.hosts["quad"].build("helexa-neuron") == fleet.repository.build(OLD)


def test_an_upgrade_of_all(fleet: Fleet) -> None:
    before = {name: fleet.seconds(name, "packages") for name in UNITS}
    start = time.monotonic()
    status, hosts = fleet.deploy()
    whole = time.monotonic() - start
    assert status == 0, hosts
    dnf = sum(fleet.seconds(name, "packages") - before[name] for name in UNITS)
    print(f"upgrade of three hosts, one after the other: {whole:.1f} s, of them dnf {dnf:.1f} s")
    found = {
        fleet.hosts["gate"].build("cortex"),
        *(fleet.hosts[name].build("helexa-neuron") for name in ("beast", "quad")),
    }
    assert found == {fleet.repository.build(NEW)}
    assert hosts["beast"]["notes"] == [], "the gateway cordoned it"


def test_one_host_made_stale_by_hand_is_brought_up_alone(fleet: Fleet) -> None:
    quad = fleet.hosts["quad"]
    quad.sh(f"dnf5 -y install helexa-neuron-{fleet.repository.build(OLD)}")
    before = started(fleet)
    status, hosts = fleet.deploy()
    assert (status, hosts["quad"]["state"]) == (0, "changed"), hosts
    assert quad.build("helexa-neuron") == fleet.repository.build(NEW)
    now = started(fleet)
    assert (now["beast"], now["gate"]) == (before["beast"], before["gate"])


def test_a_new_version_that_does_not_start_is_rolled_back(fleet: Fleet) -> None:
    fleet.publish(("cortex", NEW), ("helexa-neuron", NEW), ("helexa-neuron", BROKEN))
    status, hosts = fleet.deploy()
    assert status == 1
    assert hosts["beast"]["state"] == "rolled back", hosts
    assert hosts["quad"]["state"] == "not started"
    assert fleet.hosts["beast"].build("helexa-neuron") == fleet.repository.build(NEW)
    assert fleet.hosts["beast"].show("neuron.service", "ActiveState") == "active"
    assert "token" in fleet.hosts["beast"].sh("ls /etc/neuron")
    fleet.publish(("cortex", NEW), ("helexa-neuron", NEW))


def test_a_bad_configuration_never_goes_live(fleet: Fleet) -> None:
    good = (fleet.folder / "neuron.toml").read_text()
    (fleet.folder / "neuron.toml").write_text(NEURON.replace("threads", "thread"))
    before = started(fleet)
    try:
        status, hosts = fleet.deploy()
    finally:
        (fleet.folder / "neuron.toml").write_text(good)
    assert (status, hosts["beast"]["state"], hosts["quad"]["state"]) == (1, "failed", "not started")
    assert "did you mean 'threads'" in hosts["beast"]["error"]
    assert fleet.hosts["beast"].sh("cat /etc/neuron/neuron.toml") == good.strip()
    assert started(fleet) == before


def test_a_repository_that_is_down_changes_nothing(fleet: Fleet) -> None:
    fleet.repository.vanish()
    before = started(fleet)
    try:
        status, hosts = fleet.deploy()
    finally:
        fleet.repository.return_()
    assert (status, {hosts[name]["state"] for name in before}) == (1, {"failed"})
    assert started(fleet) == before


def test_a_package_that_is_missing_fails_only_who_needs_it(fleet: Fleet) -> None:
    fleet.publish(("helexa-neuron", NEW))
    try:
        status, hosts = fleet.deploy()
    finally:
        fleet.publish(("cortex", NEW), ("helexa-neuron", NEW))
    assert status == 1
    assert "no repository offers cortex" in hosts["gate"]["error"]
    assert {hosts[name]["state"] for name in ("beast", "quad")} == {"unchanged"}


def test_an_unreachable_host_is_told_and_the_others_looked_at(fleet: Fleet) -> None:
    fleet.hosts["quad"].link("down")
    try:
        status, hosts = fleet.deploy()
    finally:
        fleet.hosts["quad"].link("up")
    assert (status, hosts["quad"]["state"], hosts["beast"]["state"]) == (1, "failed", "unchanged")
    assert "ssh has no connection" in hosts["quad"]["error"]
    fleet.hosts["quad"].wait_for_ssh()


def test_an_edited_file_survives_an_upgrade_by_dnf_itself(fleet: Fleet) -> None:
    quad = fleet.hosts["quad"]
    before = quad.show("neuron.service", "InvocationID")
    fleet.publish(*((name, release) for name in ("cortex", "helexa-neuron") for release in (OLD, NEW)))
    quad.sh(f"dnf5 -y --refresh install helexa-neuron-{fleet.repository.build(OLD)}")
    text = quad.sh("cat /etc/neuron/neuron.toml")
    quad.sh("dnf5 -y --refresh upgrade helexa-neuron")
    assert quad.build("helexa-neuron") == fleet.repository.build(NEW)
    assert quad.sh("cat /etc/neuron/neuron.toml") == text
    assert quad.show("neuron.service", "InvocationID") != before, "the service runs the new build"


def test_removing_a_package_keeps_its_state_and_leaves_nothing_else(fleet: Fleet) -> None:
    quad = fleet.hosts["quad"]
    quad.sh("touch /var/lib/neuron/kept; dnf5 -y remove helexa-neuron")
    assert quad.sh("ls /var/lib/neuron") == "kept"
    left = quad.sh(
        "ls -d /usr/lib/helexa-neuron /usr/bin/neuron /etc/systemd/system/*/neuron.service 2>/dev/null", check=False
    )
    assert left == ""
    assert fleet.deploy()[0] == 0, "and comes back"
