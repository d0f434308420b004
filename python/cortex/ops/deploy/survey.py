"""Survey: what a host has, what its repositories offer, and the plan that follows; changes at most its repositories."""

from collections.abc import Mapping

import msgspec

from cortex.errors import CortexError
from cortex.ops.deploy import scripts
from cortex.ops.deploy.facts import Facts, parse_facts
from cortex.ops.deploy.inventory import Host, Inventory
from cortex.ops.deploy.plan import (
    UNITS,
    File,
    Plan,
    make_plan,
    package_trouble,
    stale_repositories,
    wanted_files,
)
from cortex.ops.deploy.ssh import Ssh

__all__ = ["StepFailed", "Survey", "run_step", "survey"]

PROBE_SECONDS = 60.0
_QUERY_SECONDS = 300.0


class StepFailed(CortexError):
    """A script ended with a status other than 0, `answered`; the host's log says why."""

    code = "step_failed"

    def __init__(self, title: str, *, answered: int, log: str) -> None:
        super().__init__(f"{title} failed (status {answered}):\n{log}" if log else f"{title} failed ({answered})")
        self.answered = answered


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """A host before anything of its packages, files or services is changed."""

    host: Host
    facts: Facts
    files: dict[str, File]
    plan: Plan


def run_step(ssh: Ssh, host: Host, title: str, script: str, *, seconds: float) -> str:
    """The facts that a script printed. Raises StepFailed, UpstreamUnreachable, UpstreamLost."""
    outcome = ssh.run(host, title, script, seconds=seconds)
    if outcome.status != 0:
        raise StepFailed(title, answered=outcome.status, log=ssh.tail(host))
    return outcome.facts


def survey(ssh: Ssh, host: Host, inventory: Inventory, contents: Mapping[str, bytes], *, apply: bool) -> Survey:
    """1. probe; 2. repositories, written where `apply` allows it; 3. what they offer; 4. the plan.

    Raises CortexError for a host that cannot be brought to what the inventory wants; nothing of it is changed then.
    """
    files = wanted_files(host, contents)
    ours = tuple(host.ours.values())
    asked = scripts.probe(
        packages=[*ours, *host.packages],
        repositories=host.repositories,
        files=files,
        units=[UNITS[role] for role in host.ours],
    )
    facts = parse_facts(run_step(ssh, host, "probe", asked, seconds=PROBE_SECONDS))  # 1.
    stale = stale_repositories(host, inventory, facts) if facts.dnf else ()
    if stale and apply:  # 2.
        texts = {name: inventory.repositories[name].text(name) for name in stale}
        run_step(ssh, host, "repositories", scripts.ensure_repositories(texts), seconds=PROBE_SECONDS)
    if facts.dnf and host.version is None and (apply or not stale):  # 3.
        found = run_step(ssh, host, "query", scripts.newest(ours, host.repositories), seconds=_QUERY_SECONDS)
        facts = msgspec.structs.replace(facts, newest=parse_facts(found).newest)
    unknown = bool(stale) and not apply
    trouble = package_trouble(host, facts, repositories_known=not unknown)
    if trouble is not None:
        raise CortexError(trouble)
    return Survey(host=host, facts=facts, files=files, plan=make_plan(host, facts, files, stale))  # 4.
