"""`cortex deploy` and `cortex export`: brings the hosts of an inventory up to date, or tells other tools about them."""

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import msgspec

from cortex.cli.output import print_json, print_table, say
from cortex.errors import ConfigError
from cortex.ops import export
from cortex.ops.deploy.inventory import Host, Inventory, load_inventory
from cortex.ops.deploy.report import Report
from cortex.ops.deploy.rollout import Deployment
from cortex.ops.deploy.ssh import connections

__all__ = ["run_deploy", "run_export"]

_INTERRUPTED = 130


def run_deploy(path: Path, names: Sequence[str], *, check: bool, as_json: bool, logs: Path | None) -> None:
    """Bring the hosts up to date, or with `check` say what that would take. Ends with status 1 when a host is not as it
    shall be, 130 when interrupted. Raises ConfigError."""
    inventory = load_inventory(path, os.environ)
    hosts = _chosen(inventory, names)
    folder = logs or _state() / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    with connections(folder, inventory.hosts) as ssh:
        deployment = Deployment(
            ssh, inventory, path.parent, key=os.environ.get("CORTEX_API_KEY", ""), say=say, hosts=hosts
        )
        before = signal.signal(signal.SIGINT, _stopper(deployment))
        try:
            report = deployment.run(apply=not check)
        finally:
            signal.signal(signal.SIGINT, before)
    _show(report, as_json=as_json)
    if report.interrupted:
        raise SystemExit(_INTERRUPTED)
    if not report.ok:
        raise SystemExit(1)


def run_export(path: Path, tool: str) -> None:
    """Print the inventory for another tool. Raises ConfigError."""
    tools = {"ansible": export.ansible, "pyinfra": export.pyinfra}
    if tool not in tools:
        raise ConfigError(f"{tool}: choose {' or '.join(tools)}")
    sys.stdout.write(tools[tool](load_inventory(path, os.environ)))


def _stopper(deployment: Deployment) -> "signal._HANDLER":
    def on_interrupt(_number: int, _frame: FrameType | None) -> None:
        say("stopping once the hosts under way are done; Ctrl-C again leaves them to finish alone, unwatched")
        deployment.stop()
        signal.signal(signal.SIGINT, _leave)

    return on_interrupt


def _leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(_INTERRUPTED)


def _chosen(inventory: Inventory, names: Sequence[str]) -> tuple[Host, ...]:
    known = {host.name: host for host in inventory.hosts}
    for name in names:
        if name not in known:
            raise ConfigError(f"no host {name!r} in the inventory; it has {', '.join(known)}")
    return tuple(host for host in inventory.hosts if not names or host.name in names)


def _state() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "cortex" / "deploy"


def _show(report: Report, *, as_json: bool) -> None:
    if as_json:
        print_json({"ok": report.ok, **msgspec.to_builtins(report)})
        return
    rows = [(host.name, host.state, f"{host.seconds:.1f} s", "; ".join(host.actions) or "-") for host in report.hosts]
    print_table(("HOST", "STATE", "TIME", "ACTIONS"), rows)
    for host in report.hosts:
        if host.error and host.state != "not started":
            say(f"\n{host.name}: {host.error}")
            for note in host.notes:
                say(f"{host.name}: {note}")
            say(f"{host.name}: everything its commands said is in {host.log}")
    for reason in report.fleet:
        say(f"fleet: {reason}")
