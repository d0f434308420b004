"""HostRun: carries a plan out on one host, and takes it back where a step fails."""

import time
from collections.abc import Callable, Sequence

from cortex.errors import CortexError
from cortex.ops.deploy import checks, scripts
from cortex.ops.deploy.facts import parse_facts
from cortex.ops.deploy.inventory import Host, Rollout
from cortex.ops.deploy.plan import UNITS, Change
from cortex.ops.deploy.report import HostReport, State
from cortex.ops.deploy.ssh import Ssh
from cortex.ops.deploy.survey import PROBE_SECONDS, StepFailed, Survey, run_step

__all__ = ["HostRun", "Setting"]

_DNF_SECONDS = 3600.0
_STOP_SECONDS = 300.0
_REFUSED = 3


class Setting:
    """What all hosts of one deployment share. `run` names it on the hosts; `key` opens the gateways' admin routes."""

    def __init__(self, ssh: Ssh, rollout: Rollout, gateways: Sequence[Host], *, run: str, key: str) -> None:
        self.ssh = ssh
        self.rollout = rollout
        self.gateways = gateways
        self.run = run
        self.key = key


class HostRun:
    """Used once. What was done is remembered, so that exactly that is taken back."""

    def __init__(self, setting: Setting, survey: Survey) -> None:
        self._setting = setting
        self._survey = survey
        self._host = survey.host
        self._plan = survey.plan
        self._undo: list[tuple[str, Callable[[], None]]] = []
        self._stopped = False
        self._cordoned: list[Host] = []
        self._notes: list[str] = []

    def apply(self) -> HostReport:
        """Do it all, or take back what was done; either way the host is given back to its gateways."""
        start = time.monotonic()
        state: State = "changed"
        error = ""
        try:
            self._apply()
        except CortexError as failure:
            state, error = self._take_back(), failure.message
        if not self._uncordon() and state == "changed":
            state, error = "failed", "it runs, but gets no requests"
        return HostReport(
            name=self._host.name,
            state=state,
            actions=tuple(self._plan.lines()),
            error=error,
            notes=tuple(self._notes),
            log=str(self._setting.ssh.log_of(self._host)),
            seconds=round(time.monotonic() - start, 3),
        )

    def _apply(self) -> None:
        """1. take a neuron out of service; 2. packages; 3. files, checked first; 4. services; 5. proof."""
        plan = self._plan
        if UNITS["neuron"] in plan.restart:  # 1.
            self._drain()
        if plan.stop:
            self._stopped = True
            self._step("stop", scripts.stop(plan.stop), seconds=_STOP_SECONDS)
        if plan.changes or plan.extras:  # 2.
            self._install()
        if plan.files:  # 3.
            self._place()
        if plan.enable:  # 4.
            self._step("enable", scripts.enable(plan.enable), seconds=PROBE_SECONDS)
        if units := (*plan.restart, *plan.start):
            self._restart(units)
            self._prove(units)  # 5.

    def _step(self, title: str, script: str, *, seconds: float) -> str:
        return run_step(self._setting.ssh, self._host, title, script, seconds=seconds)

    def _drain(self) -> None:
        setting = self._setting
        seconds = setting.rollout.drain_secs
        for gateway in setting.gateways:
            script = checks.drain(gateway, self._host.name, seconds=seconds, key=setting.key)
            try:
                run_step(setting.ssh, gateway, f"drain {self._host.name}", script, seconds=seconds + PROBE_SECONDS)
            except CortexError:
                # The neuron drains by itself when it is stopped, so that running answers end either way.
                self._notes.append(f"gateway {gateway.name} did not cordon it; its own drain has to do")
            else:
                self._cordoned.append(gateway)

    def _uncordon(self) -> bool:
        given_back = True
        for gateway in self._cordoned:
            script = checks.uncordon(gateway, self._host.name, key=self._setting.key)
            try:
                run_step(self._setting.ssh, gateway, f"uncordon {self._host.name}", script, seconds=PROBE_SECONDS)
            except CortexError:
                self._notes.append(f"still cordoned at {gateway.name}: cortex uncordon {self._host.name}")
                given_back = False
        return given_back

    def _install(self) -> None:
        plan = self._plan
        outcome = self._setting.ssh.run(
            self._host, "packages", scripts.transaction(plan.changes, plan.extras), seconds=_DNF_SECONDS
        )
        after = parse_facts(outcome.facts)
        if after.transaction:
            names = [change.package for change in plan.changes]
            undo = scripts.undo(after.transaction, names)
            self._undo.append(
                (f"undo transaction {after.transaction}", lambda: self._take_packages_back(undo, plan.changes))
            )
        if outcome.status != 0:
            raise StepFailed("packages", answered=outcome.status, log=self._setting.ssh.tail(self._host))
        for change in plan.changes:
            now = after.installed.get(change.package)
            if now is None or (change.after is not None and now != change.after):
                raise CortexError(f"dnf says it is done, but {change.package} is {now or 'absent'}, not {change.after}")
        for name in plan.extras:
            if name not in after.installed:
                self._notes.append(f"{name} could not be installed; the log says why")

    def _take_packages_back(self, undo: str, changes: Sequence[Change]) -> None:
        after = parse_facts(self._step("undo", undo, seconds=_DNF_SECONDS))
        for change in changes:
            if after.installed.get(change.package) != change.before:
                raise CortexError(f"{change.package} is not {change.before or 'absent'} again")

    def _place(self) -> None:
        files = {path: self._survey.files[path] for path in self._plan.files}
        run = self._setting.run
        script = scripts.check_and_place(files, run)
        outcome = self._setting.ssh.run(self._host, "files", script, seconds=PROBE_SECONDS)
        if outcome.status == _REFUSED:
            raise StepFailed("the configuration's check", answered=_REFUSED, log=self._setting.ssh.tail(self._host))
        self._undo.append(("put the files back", lambda: self._put_back(tuple(files))))
        if outcome.status != 0:
            raise StepFailed("files", answered=outcome.status, log=self._setting.ssh.tail(self._host))

    def _put_back(self, paths: Sequence[str]) -> None:
        self._step("put back", scripts.put_back(paths, self._setting.run), seconds=PROBE_SECONDS)

    def _restart(self, units: Sequence[str]) -> None:
        self._step("restart", scripts.restart(units), seconds=_STOP_SECONDS)

    def _prove(self, units: Sequence[str]) -> None:
        wait, key = self._setting.rollout.wait_secs, self._setting.key
        if UNITS["neuron"] in units:
            script = checks.neuron_answers(self._host, seconds=wait)
            outcome = self._setting.ssh.run(self._host, "validate", script, seconds=2 * wait)
            if outcome.status != 0:
                raise CortexError("validation failed: " + "; ".join(checks.failed_checks(outcome.facts)))
        if UNITS["gateway"] in units:
            script = checks.gateway_answers(self._host, seconds=PROBE_SECONDS, key=key)
            self._step("the gateway's answer", script, seconds=2 * PROBE_SECONDS)

    def _take_back(self) -> State:
        """In reverse; then whatever ran before runs again."""
        done = []
        try:
            for title, undo in reversed(self._undo):
                undo()
                done.append(title)
            if self._plan.restart and (done or self._stopped):
                self._restart(self._plan.restart)
        except CortexError as error:
            self._notes.append(f"taking it back failed, look at this host: {error.message}")
            return "failed"
        self._notes += [f"taken back: {', '.join(done)}"] if done else []
        return "rolled back" if done else "failed"
