"""What services do when they are killed, stuck, stopped, cut off or rebooted; each test leaves the fleet whole."""

import json
import threading
import time

import pytest

from tests.fleet.conftest import TOKEN, Fleet
from tests.fleet.rig.clients import Asking, Stream, ask
from tests.fleet.rig.machines import Machine

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(1500)]
UNITS = {"gate": "cortex.service", "beast": "neuron.service", "quad": "neuron.service"}
STREAM_TOKENS = 250


@pytest.fixture(autouse=True)
def whole(deployed: Fleet) -> None:
    """All services run, and what tests before this did is not counted against them."""
    for name, unit in UNITS.items():
        deployed.hosts[name].sh(f"systemctl reset-failed {unit} 2>/dev/null; systemctl start {unit}")
    deployed.hosts["gate"].sh("systemctl start cortex.socket")
    wait_until_both_serve(deployed)


def wait_until_both_serve(fleet: Fleet) -> None:
    """Both hosts have the model, as the gateway sees it."""
    fleet.until(lambda: fleet.loaded() == {"beast", "quad"}, "both hosts have the model loaded")


def restarted(machine: Machine, unit: str, before: str) -> None:
    """Another run of it than `before` is ready."""
    machine.until(
        f'[ "$(systemctl is-active {unit})" = active ] && '
        f'[ "$(systemctl show -p InvocationID --value {unit})" != {before} ]'
    )


@pytest.mark.short
def test_a_killed_neuron_comes_back_and_serves_again(deployed: Fleet) -> None:
    beast = deployed.hosts["beast"]
    before = beast.show("neuron.service", "InvocationID")
    with Asking(deployed.address) as asking:
        asking.wait_for(2)
        beast.sh("systemctl kill --signal=KILL neuron.service")
        restarted(beast, "neuron.service", before)
        wait_until_both_serve(deployed)
        asking.wait_for(2)
    print(f"a neuron killed under load: {len(asking.failures)} of {asking.done} requests failed")
    assert len(asking.failures) <= 2, "only what ran there, one request of each client, may fail"


@pytest.mark.short
def test_a_killed_gateway_comes_back_and_new_clients_wait_for_it(deployed: Fleet) -> None:
    gate = deployed.hosts["gate"]
    before = gate.show("cortex.service", "InvocationID")
    gate.sh("systemctl kill --signal=KILL cortex.service")
    assert "Paris" in json.dumps(ask(deployed.address)), "the socket kept this client waiting"
    restarted(gate, "cortex.service", before)
    assert gate.show("cortex.service", "NRestarts") != "0"


@pytest.mark.short
def test_a_restart_of_the_gateway_fails_no_request(deployed: Fleet) -> None:
    gate = deployed.hosts["gate"]
    before = gate.show("cortex.service", "InvocationID")
    with Asking(deployed.address, threads=4) as asking:
        for _ in range(3):
            asking.wait_for(8)
            gate.sh("systemctl restart cortex.service")
        asking.wait_for(8)
    print(f"three restarts of the gateway: {asking.done} requests, none failed, slowest {asking.slowest:.1f} s")
    assert asking.failures == []
    assert gate.show("cortex.service", "InvocationID") != before


def test_a_stuck_service_is_killed_by_its_watchdog_and_started_again(deployed: Fleet) -> None:
    stuck = {name: deployed.hosts[name].show(UNITS[name], "InvocationID") for name in ("gate", "quad")}
    start = time.monotonic()
    for name in stuck:
        deployed.hosts[name].sh(f"systemctl kill --kill-whom=main --signal=STOP {UNITS[name]}")
    for name, before in stuck.items():
        restarted(deployed.hosts[name], UNITS[name], before)
        deployed.hosts[name].sh(f"journalctl --no-pager -b -u {UNITS[name]} | grep -q 'Watchdog timeout'")
    print(f"stuck to running again: {time.monotonic() - start:.0f} s")
    wait_until_both_serve(deployed)
    assert "Paris" in json.dumps(ask(deployed.address))


def test_a_service_that_flaps_fails_visibly_and_deployment_mends_it(deployed: Fleet) -> None:
    quad = deployed.hosts["quad"]
    quad.sh("echo '[harness.candle' > /etc/neuron/neuron.toml; systemctl restart neuron.service", check=False)
    quad.until("systemctl is-failed --quiet neuron.service")
    starts = quad.sh("journalctl --no-pager -b -u neuron.service | grep -c 'Start request repeated too quickly'")
    assert int(starts) >= 1
    assert "neuron.toml" in quad.sh("systemctl status --no-pager --lines=30 neuron.service", check=False)
    deployed.until(lambda: deployed.loaded() == {"beast"}, "the gateway has left it out")
    assert "Paris" in json.dumps(ask(deployed.address))
    status, hosts = deployed.deploy()
    assert (status, hosts["quad"]["state"], hosts["beast"]["state"]) == (0, "changed", "unchanged"), hosts


@pytest.mark.parametrize("name", ["beast", "gate"])
@pytest.mark.short
def test_a_stop_lets_a_running_stream_end_whole(deployed: Fleet, name: str) -> None:
    machine, unit = deployed.hosts[name], UNITS[name]
    port, token = (31313, "") if name == "gate" else (13131, TOKEN)
    units = f"cortex.socket {unit}" if name == "gate" else unit
    stopping = threading.Thread(target=machine.sh, args=(f"systemctl stop {units}",))
    with Stream(f"{machine.address}:{port}", tokens=STREAM_TOKENS, token=token) as stream:
        stopping.start()
        machine.until(f"systemctl is-active {unit} | grep -q deactivating")
        assert stream.rest() == (STREAM_TOKENS, "length", True)
        stopping.join()
    assert (machine.show(unit, "ActiveState"), machine.show(unit, "Result")) == ("inactive", "success")


def test_a_host_that_is_cut_off_is_left_out_and_taken_back(deployed: Fleet) -> None:
    quad = deployed.hosts["quad"]
    before = quad.show("neuron.service", "InvocationID")
    with Asking(deployed.address) as asking:
        asking.wait_for(2)
        start = time.monotonic()
        quad.link("down")
        try:
            deployed.until(lambda: deployed.loaded() == {"beast"}, "the gateway has noticed")
            noticed = time.monotonic() - start
            asking.wait_for(4)
        finally:
            quad.link("up")
        wait_until_both_serve(deployed)
        asking.wait_for(2)
    print(f"cut off: noticed in {noticed:.1f} s, {asking.done} requests, slowest {asking.slowest:.1f} s")
    assert asking.failures == []
    quad.wait_for_ssh()
    assert quad.show("neuron.service", "InvocationID") == before, "it never restarted"


@pytest.mark.parametrize("name", ["quad", "gate"])
def test_a_host_that_reboots_serves_again_by_itself(deployed: Fleet, name: str) -> None:
    machine = deployed.hosts[name]
    before = machine.sh("cat /proc/sys/kernel/random/boot_id; systemctl show -p UserspaceTimestampMonotonic")
    machine.power_off()
    machine.boot()
    machine.until(f"systemctl is-active --quiet {UNITS[name]}")
    wait_until_both_serve(deployed)
    assert "Paris" in json.dumps(ask(deployed.address))
    assert machine.sh("cat /proc/sys/kernel/random/boot_id; systemctl show -p UserspaceTimestampMonotonic") != before
    assert deployed.deploy()[1][name]["state"] == "unchanged"
