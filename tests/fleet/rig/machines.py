"""Hosts: each a container with its own systemd, sshd and network namespace, on a bridge of this machine."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.fleet.rig.cgroups import forget_cgroup, make_cgroup
from tests.fleet.rig.root import Root, run

__all__ = ["ADDRESS", "Machine", "network", "ssh_config"]

BRIDGE, ADDRESS = "cxrig0", "10.231.7"
_BOOT_SECONDS = 90.0
# What to look at when something did not happen.
_STATE = "systemctl --no-pager --failed; journalctl --no-pager -b -n 40 -u cortex -u neuron"


class Machine:
    """One host; `number` gives its address."""

    def __init__(self, root: Root, folder: Path, name: str, number: int, binds: dict[Path, str]) -> None:
        self.name = name
        self.address = f"{ADDRESS}.{number}"
        self.folder = folder
        self._root = root
        self._space = f"cxrig{number}"
        self._link = f"cxr{number}"
        self._binds = [f"--bind={here}:{there}" for here, there in binds.items()]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Network, file system, boot; returns when ssh answers."""
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        layers = f"lowerdir={self._root.path},upperdir={self.folder}/upper,workdir={self.folder}/work"
        run("mount", "-t", "overlay", "overlay", "-o", layers, self.folder / "root")
        (self.folder / "root" / "etc" / "hostname").write_text(f"{self.name}\n")
        self._forget_network()  # of a run that was killed
        run("ip", "netns", "add", self._space)
        run("ip", "link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self._space)
        run("ip", "link", "set", self._link, "master", BRIDGE, "up")
        run("ip", "-n", self._space, "addr", "add", f"{self.address}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            run("ip", "-n", self._space, "link", "set", link, "up")
        self.boot()

    def boot(self) -> None:
        """Power on."""
        enter = "".join(f"echo $$ > {file}; " for file in make_cgroup(self._space))
        command = ["sh", "-ec", f'{enter} exec "$@"', "sh", "systemd-nspawn", "--quiet", "--register=no", "--keep-unit"]
        command += ["-b", "-D", str(self.folder / "root"), f"--machine={self._space}", "--capability=CAP_NET_ADMIN"]
        command += [f"--network-namespace-path=/run/netns/{self._space}", *self._binds]
        with (self.folder / "console").open("ab") as console:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                start_new_session=True,
            )
        self.wait_for_ssh()

    def wait_for_ssh(self) -> None:
        deadline = time.monotonic() + _BOOT_SECONDS
        while subprocess.run(self._ssh("true"), capture_output=True, check=False).returncode != 0:
            said = (self.folder / "console").read_text(errors="replace")[-2000:]
            assert time.monotonic() < deadline, f"{self.name} did not boot:\n{said}"
            time.sleep(0.2)

    def power_off(self) -> None:
        """As by its button; returns when it is off."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def link(self, state: str) -> None:
        """`down` cuts it off, `up` brings it back."""
        run("ip", "link", "set", self._link, state)

    def sh(self, script: str, *, check: bool = True) -> str:
        """Run as root; standard output."""
        done = subprocess.run(self._ssh(script), capture_output=True, text=True, timeout=300, check=False)
        assert not check or done.returncode == 0, f"{self.name}: {script}: {done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def until(self, condition: str, seconds: float = 90.0) -> None:
        """Until a shell condition holds there; asked over one connection, many times a second."""
        tries = int(seconds * 10)
        asking = f"for try in $(seq {tries}); do {{ {condition}; }} && exit 0; sleep 0.1; done; exit 1"
        done = subprocess.run(self._ssh(asking), capture_output=True, text=True, timeout=seconds * 3, check=False)
        assert done.returncode == 0, f"{self.name}: not within {seconds:.0f} s: {condition}\n{self.sh(_STATE)}"

    def show(self, unit: str, key: str) -> str:
        """A property of a unit."""
        return self.sh(f"systemctl show -p {key} --value {unit}")

    def build(self, package: str) -> str | None:
        """VERSION-RELEASE as installed."""
        return self.sh(f"rpm -q --qf '%{{version}}-%{{release}}' {package}", check=False) or None

    def remove(self) -> None:
        """All of it."""
        if self._process is not None and self._process.poll() is None:
            self.power_off()
        subprocess.run(["umount", str(self.folder / "root")], capture_output=True, check=False)
        self._forget_network()
        forget_cgroup(self._space)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _forget_network(self) -> None:
        for words in (("ip", "netns", "del", self._space), ("ip", "link", "del", self._link)):
            subprocess.run(words, capture_output=True, check=False)

    def _ssh(self, script: str) -> list[str]:
        return ["ssh", "-F", str(self.folder.parent / "ssh_config"), self.name, script]


@contextlib.contextmanager
def network() -> Iterator[None]:
    """The bridge, with an address of ours."""
    subprocess.run(["ip", "link", "del", BRIDGE], capture_output=True, check=False)
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "addr", "add", f"{ADDRESS}.1/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    try:
        yield
    finally:
        run("ip", "link", "del", BRIDGE)


def ssh_config(folder: Path, root: Root, names: dict[str, str]) -> Path:
    """For `ssh -F`: hosts by name, the rig's key, no known hosts."""
    lines = [f"Host {name}\n  HostName {address}" for name, address in names.items()]
    common = ["User root", f"IdentityFile {root.key}", "StrictHostKeyChecking no", "UserKnownHostsFile /dev/null"]
    common += ["LogLevel ERROR", "ConnectTimeout 3", "IdentitiesOnly yes"]
    path = folder / "ssh_config"
    path.write_text("\n".join([*lines, "Host *", *(f"  {line}" for line in common), ""]))
    return path
