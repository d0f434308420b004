"""Ssh: runs scripts on hosts by the system's ssh, so that its configuration, agents and jump hosts are honoured."""

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cortex.errors import ConfigError, UpstreamLost, UpstreamUnreachable
from cortex.ops.deploy.inventory import Host

__all__ = ["Outcome", "Ssh", "connections"]

_SSH_FAILED = 255
_TAIL_LINES = 20


class Outcome(NamedTuple):
    """How a script ended, and the facts that it printed."""

    status: int
    facts: str


class Ssh:
    """One connection a host, kept open between scripts. What commands say goes to `LOGS/HOST.log`."""

    def __init__(self, sockets: Path, logs: Path) -> None:
        self._sockets = sockets
        self.logs = logs

    def run(self, host: Host, title: str, script: str, *, seconds: float) -> Outcome:
        """Run a script as root. It is not interrupted with us: what began on a host is let finish.

        Raises UpstreamUnreachable without a connection, UpstreamLost after `seconds`, ConfigError without ssh.
        """
        command = [*self._ssh(host), *(["sudo", "-n"] if host.sudo else []), "sh", "-s"]
        with self.log_of(host).open("ab") as log:
            log.write(f"\n== {time.strftime('%Y-%m-%d %H:%M:%SZ', time.gmtime())} {title}\n".encode())
            log.flush()
            start = time.monotonic()
            try:
                done = subprocess.run(
                    command,
                    input=script.encode(),
                    stdout=subprocess.PIPE,
                    stderr=log,
                    timeout=seconds,
                    start_new_session=True,
                    check=False,
                )
            except FileNotFoundError as error:
                raise ConfigError("ssh is missing on this machine; install openssh-clients") from error
            except subprocess.TimeoutExpired as error:
                raise UpstreamLost(f"{title}: no end after {seconds:.0f} s") from error
            log.write(f"== ended with {done.returncode} after {time.monotonic() - start:.2f} s\n".encode())
        if done.returncode == _SSH_FAILED:
            raise UpstreamUnreachable(f"{title}: ssh has no connection: {self.tail(host, 3)}")
        return Outcome(done.returncode, done.stdout.decode(errors="replace"))

    def log_of(self, host: Host) -> Path:
        """Where a host's messages are kept."""
        return self.logs / f"{host.name}.log"

    def tail(self, host: Host, lines: int = _TAIL_LINES) -> str:
        """The last messages of a host."""
        said = self.log_of(host).read_text(errors="replace").splitlines()
        return "\n".join([line for line in said if line.strip() and not line.startswith("== ")][-lines:])

    def close(self, host: Host) -> None:
        """End the connection that was kept open."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run([*self._ssh(host), "-O", "exit"], capture_output=True, timeout=5, check=False)

    def _ssh(self, host: Host) -> list[str]:
        keep = ["ControlMaster=auto", f"ControlPath={self._sockets}/%C", "ControlPersist=60"]
        settings = ["BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=15", "ServerAliveCountMax=4", *keep]
        options = [word for setting in settings for word in ("-o", setting)]
        if host.ssh_port is not None:
            options += ["-p", str(host.ssh_port)]
        if host.user is not None:
            options += ["-l", host.user]
        return ["ssh", "-T", *options, host.address or host.name]


@contextlib.contextmanager
def connections(logs: Path, hosts: tuple[Host, ...]) -> Iterator[Ssh]:
    """Ssh with a folder for its sockets (short: their paths are limited), closed at the end."""
    logs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cortex-") as folder:
        ssh = Ssh(Path(folder), logs)
        try:
            yield ssh
        finally:
            for host in hosts:
                ssh.close(host)
