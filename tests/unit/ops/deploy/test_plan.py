"""The plan from facts, the order of hosts, the order of versions, and what is made of a host's words."""

import shutil
import subprocess

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortex.ops.deploy.facts import Facts, FileFacts, Malformed, UnitFacts, parse_facts
from cortex.ops.deploy.inventory import Host
from cortex.ops.deploy.plan import File, Plan, make_plan, package_trouble
from cortex.ops.deploy.rollout import waves
from cortex.ops.deploy.versions import Build, compare

OLD, NEW = Build.of("0.1.0-1"), Build.of("0.2.0-1")
NEURON = Host(name="beast", roles=("neuron",))
BOTH = Host(name="gate", roles=("gateway", "neuron"))
RUNNING = UnitFacts(present=True, active=True, enabled=True)
UNITS = {"neuron.service": RUNNING, "cortex.service": RUNNING}
CURRENT = Facts(dnf="dnf5", installed={"helexa-neuron": OLD}, newest={"helexa-neuron": OLD}, units=UNITS)
TOML = File(content=b"port = 1\n", access="644:root:root")
LYING = FileFacts(digest=TOML.digest, access=TOML.access)


def facts(**changes: object) -> Facts:
    return msgspec.structs.replace(CURRENT, **changes)


def test_what_is_current_is_left_alone() -> None:
    assert make_plan(NEURON, CURRENT, {}) == Plan()
    assert not make_plan(NEURON, CURRENT, {})


def test_what_is_newer_than_the_repository_is_left_alone() -> None:
    assert not make_plan(NEURON, facts(installed={"helexa-neuron": NEW}), {})


def test_what_is_stale_is_upgraded_and_its_neuron_stopped_first() -> None:
    plan = make_plan(NEURON, facts(newest={"helexa-neuron": NEW}), {})
    assert plan.lines() == ["upgrade helexa-neuron 0.1.0-1 -> 0.2.0-1", "restart neuron.service"]
    assert plan.stop == ("neuron.service",)


def test_a_gateway_is_never_stopped_because_its_socket_keeps_its_clients() -> None:
    stale = facts(installed={"helexa-neuron": OLD, "cortex": OLD}, newest={"helexa-neuron": OLD, "cortex": NEW})
    plan = make_plan(BOTH, stale, {})
    assert (plan.stop, plan.restart) == ((), ("cortex.service",))


def test_a_service_that_is_down_is_started_and_one_that_is_not_enabled_enabled() -> None:
    plan = make_plan(NEURON, facts(units={"neuron.service": UnitFacts(present=True)}), {})
    assert plan.lines() == ["enable neuron.service", "start neuron.service"]


@pytest.mark.parametrize(
    "there",
    [None, FileFacts(digest="0" * 64, access=TOML.access), FileFacts(digest=TOML.digest, access="600:root:root")],
)
def test_a_file_that_is_absent_or_other_or_open_to_others_is_placed(there: FileFacts | None) -> None:
    path = "/etc/neuron/neuron.toml"
    lying = {} if there is None else {path: there}
    plan = make_plan(NEURON, facts(files=lying), {path: TOML})
    assert plan.lines() == [f"place {path}", "restart neuron.service"]
    assert plan.stop == ()
    assert not make_plan(NEURON, facts(files={path: LYING}), {path: TOML})


def test_a_file_restarts_the_service_that_it_is_for() -> None:
    installed = {"helexa-neuron": OLD, "cortex": OLD}
    plan = make_plan(BOTH, facts(installed=installed, newest=installed), {"/etc/cortex/models.toml": TOML})
    assert plan.restart == ("cortex.service",)


@pytest.mark.parametrize(
    ("host", "changes", "reason"),
    [
        (NEURON, {"dnf": ""}, "has no dnf"),
        (NEURON, {"newest": {}}, "no repository offers helexa-neuron"),
        (Host(name="a", roles=("neuron",), flavour="cuda"), {"gpu": "broken"}, "reboot the host first"),
    ],
)
def test_a_host_that_cannot_be_brought_there_is_told_why(host: Host, changes: dict[str, object], reason: str) -> None:
    trouble = package_trouble(host, facts(**changes), repositories_known=True)
    assert trouble is not None
    assert reason in trouble


def names(found: list[list[Host]]) -> list[list[str]]:
    return [[host.name for host in wave] for wave in found]


def test_one_neuron_goes_first_and_gateways_last_one_by_one() -> None:
    neurons = [Host(name=name, roles=("neuron",)) for name in "abcd"]
    gateways = [Host(name=name, roles=("gateway",)) for name in ("g", "h")]
    assert names(waves([*gateways, *neurons], 2)) == [["a"], ["b", "c"], ["d"], ["g"], ["h"]]
    chosen = msgspec.structs.replace(neurons[2], canary=True)
    assert names(waves([*neurons[:2], chosen, neurons[3]], 9)) == [["c"], ["a", "b", "d"]]
    assert names(waves(gateways[:1], 2)) == [["g"]]


def test_facts_are_read_from_their_lines() -> None:
    text = (
        "dnf\tdnf5\ninstalled\tcortex\t0:0.1.0-1\nunit\tcortex.service\tyes\tno\tyes\tno\n\ngpu\tok\ntransaction\t7\n"
    )
    found = parse_facts(
        text + "newest\tcortex\t0:0.2.0-1\nnewest\tcortex\t0:0.1.0-1\nfile\t/etc/a\tab\t644:root:root\n"
    )
    assert (found.dnf, found.gpu, found.transaction) == ("dnf5", "ok", "7")
    assert found.installed == {"cortex": OLD}
    assert found.newest == {"cortex": NEW}, "the newest counts, in whatever order they come"
    assert found.units["cortex.service"] == UnitFacts(present=True, enabled=True)


@pytest.mark.parametrize(
    "line",
    ["installed\tcortex", "installed\tcortex\tabsent", "unit\ta\tmaybe\tno\tno\tno", "hello", "dnf", "dnf\ta\tb"],
)
def test_words_that_no_script_of_ours_prints_are_malformed(line: str) -> None:
    with pytest.raises(Malformed):
        parse_facts(f"{line}\n")


@pytest.mark.parametrize(
    ("left", "right", "order"),
    [
        ("1.0", "1.0", 0),
        ("1.10", "1.9", 1),
        ("1.0", "1.0.1", -1),
        ("1.0a", "1.0", 1),
        ("1.0~rc1", "1.0", -1),
        ("1.0~rc1", "1.0~rc2", -1),
        ("1.0^git1", "1.0", 1),
        ("1.0^git1", "1.0.1", -1),
        ("a", "1", -1),
        ("001", "1", 0),
        ("0.20261125101500.gitabc1234", "0.20261125101459.gitffffff0", 1),
    ],
)
def test_versions_are_ordered_as_by_rpm(left: str, right: str, order: int) -> None:
    assert compare(left, right) == order
    assert compare(right, left) == -order


VERSIONS = st.from_regex(r"[0-9a-z]{1,4}([.~^][0-9a-z]{1,3}){0,3}", fullmatch=True)


@given(left=VERSIONS, right=VERSIONS, third=VERSIONS)
def test_the_order_is_one(left: str, right: str, third: str) -> None:
    assert compare(left, right) == -compare(right, left)
    if compare(left, right) <= 0 and compare(right, third) <= 0:
        assert compare(left, third) <= 0


def test_the_order_is_that_of_rpm_itself() -> None:
    rpm = shutil.which("rpm")
    if rpm is None:
        pytest.skip("rpm is missing: apt-get install rpm, or: dnf install rpm")
    parts = [
        "1",
        "1.0",
        "1.0.0",
        "01",
        "1a",
        "1.a",
        "a1",
        "1~a",
        "1~",
        "1^",
        "1^a",
        "1^1",
        "1.10",
        "1.9",
        "2~~",
        "1b2",
        "10",
    ]
    pairs = [(left, right) for left in parts for right in parts]
    lua = "".join(f'print(rpm.vercmp("{left}","{right}").." ")' for left, right in pairs)
    told = subprocess.run([rpm, "--eval", f"%{{lua:{lua}}}"], capture_output=True, text=True, check=True, timeout=30)
    wrong = [
        (left, right, theirs)
        for (left, right), theirs in zip(pairs, told.stdout.split(), strict=True)
        if compare(left, right) != int(theirs)
    ]
    assert wrong == []
