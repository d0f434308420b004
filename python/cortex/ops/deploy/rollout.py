"""The roll-out: all hosts are surveyed; one goes first, then batches, gateways last; a failure stops what follows."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cortex.errors import CortexError
from cortex.ops.deploy import checks
from cortex.ops.deploy.host import HostRun, Setting
from cortex.ops.deploy.inventory import Host, Inventory
from cortex.ops.deploy.report import HostReport, Report
from cortex.ops.deploy.ssh import Ssh
from cortex.ops.deploy.survey import Survey, survey

__all__ = ["Deployment", "waves"]

_AT_ONCE = 32


def waves(hosts: Sequence[Host], batch: int) -> list[list[Host]]:
    """1. the canary: a neuron that the inventory names, else the first; 2. other neurons, `batch` at a time;
    3. gateways, one at a time, so that one of several always answers."""
    gateways = [host for host in hosts if "gateway" in host.roles]
    neurons = [host for host in hosts if host not in gateways]
    neurons.sort(key=lambda host: not host.canary)
    rest = neurons[1:]
    batches = [rest[at : at + batch] for at in range(0, len(rest), batch)]
    return [*([[neurons[0]]] if neurons else []), *batches, *([host] for host in gateways)]


class Deployment:
    """One deployment; `stop` may be called from a signal handler: hosts that are under way are finished, no other is
    begun."""

    def __init__(
        self,
        ssh: Ssh,
        inventory: Inventory,
        folder: Path,
        *,
        key: str,
        say: Callable[[str], None],
        hosts: Sequence[Host] | None = None,
    ) -> None:
        self._ssh = ssh
        self._inventory = inventory
        self._hosts = tuple(inventory.hosts if hosts is None else hosts)
        self._contents = _contents(folder, self._hosts)
        self._say = say
        self._stopping = threading.Event()
        gateways = [host for host in inventory.hosts if "gateway" in host.roles]
        run = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self._setting = Setting(ssh, inventory.rollout, gateways, run=run, key=key)

    def stop(self) -> None:
        """Begin no more hosts."""
        self._stopping.set()

    def run(self, *, apply: bool) -> Report:
        """Bring every host to what the inventory wants, or say what that would take."""
        surveys, reports = self._survey(apply=apply)
        pending = {name: found for name, found in surveys.items() if found.plan}
        for name, found in surveys.items():
            if name not in pending:
                reports[name] = HostReport(name=name, state="unchanged", log=str(self._ssh.log_of(found.host)))
            elif not apply:
                reports[name] = HostReport(name=name, state="planned", actions=tuple(found.plan.lines()))
        fleet: tuple[str, ...] = ()
        if apply and pending:
            reports |= self._roll_out(pending)
            if all(reports[name].state == "changed" for name in pending):
                fleet = self._validate()
        ordered = tuple(reports[host.name] for host in self._hosts)
        return Report(hosts=ordered, fleet=fleet, interrupted=self._stopping.is_set())

    def _survey(self, *, apply: bool) -> tuple[dict[str, Survey], dict[str, HostReport]]:
        surveys: dict[str, Survey] = {}
        reports: dict[str, HostReport] = {}

        def look(host: Host) -> None:
            try:
                surveys[host.name] = survey(self._ssh, host, self._inventory, self._contents, apply=apply)
            except CortexError as error:
                self._say(f"{host.name}: {error.message}")
                log = str(self._ssh.log_of(host))
                reports[host.name] = HostReport(name=host.name, state="failed", error=error.message, log=log)

        _each(look, self._hosts)
        return {host.name: surveys[host.name] for host in self._hosts if host.name in surveys}, reports

    def _roll_out(self, pending: Mapping[str, Survey]) -> dict[str, HostReport]:
        reports: dict[str, HostReport] = {}
        hosts = [found.host for found in pending.values()]
        for wave in waves(hosts, self._inventory.rollout.batch):
            failed = [name for name, report in reports.items() if report.state != "changed"]
            for host in wave:
                if failed or self._stopping.is_set():
                    why = f"after {failed[0]} failed" if failed else "interrupted"
                    actions = tuple(pending[host.name].plan.lines())
                    reports[host.name] = HostReport(name=host.name, state="not started", actions=actions, error=why)

            def one(host: Host) -> None:
                self._say(f"{host.name}: {', '.join(pending[host.name].plan.lines())}")
                report = reports[host.name] = HostRun(self._setting, pending[host.name]).apply()
                self._say(f"{host.name}: {report.state} in {report.seconds:.1f} s{_why(report)}")

            _each(one, [host for host in wave if host.name not in reports])
        return reports

    def _validate(self) -> tuple[str, ...]:
        """Every gateway is asked about its whole fleet."""
        failed: list[str] = []
        for gateway in self._setting.gateways:
            wait, key = self._inventory.rollout.wait_secs, self._setting.key
            script = checks.fleet_answers(gateway, seconds=wait, key=key)
            try:
                outcome = self._ssh.run(gateway, "validate the fleet", script, seconds=2 * wait)
            except CortexError as error:
                failed.append(f"{gateway.name}: {error.message}")
                continue
            if outcome.status != 0:
                failed += [f"seen from {gateway.name}: {reason}" for reason in checks.failed_checks(outcome.facts)]
        return tuple(failed)


def _why(report: HostReport) -> str:
    return "".join(f"\n  {line}" for text in (report.error, *report.notes) if text for line in text.splitlines())


def _each(work: Callable[[Host], None], hosts: Sequence[Host]) -> None:
    """All at the same time; what one raises is raised once all are done."""
    with ThreadPoolExecutor(min(max(len(hosts), 1), _AT_ONCE), thread_name_prefix="deploy") as pool:
        for done in [pool.submit(work, host) for host in hosts]:
            done.result()


def _contents(folder: Path, hosts: Sequence[Host]) -> dict[str, bytes]:
    names = {source for host in hosts for source in (host.files | host.secrets).values()}
    return {name: (folder / name).read_bytes() for name in names}
