"""A gateway process in front of host processes of any kind, with its books: metrics, ledger, memory, connections."""

import asyncio
import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.daemons import Daemon, free_port, get_json
from tests.wire.client import Exchange, exchange

SECONDS = 30.0
_ESTABLISHED = "01"


@dataclass(frozen=True)
class HostProcess:
    """How a host is started, and where it listens."""

    command: list[str]
    port: int
    kind: str
    ready: str

    @property
    def base(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"


class Cluster:
    """Hosts are added before the gateway starts. All files are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.api, self.metrics_port = free_port(), free_port()
        self.hosts: dict[str, HostProcess] = {}
        self.daemons: dict[str, Daemon] = {}
        self.ledger_file = folder / "usage.jsonl"
        self.environ: dict[str, str] = {}
        self.models = ""
        self.ledger_bytes_at_start = 0
        self._starts = 0
        self._stack = ExitStack()

    @property
    def base(self) -> str:
        """The gateway's address."""
        return f"http://127.0.0.1:{self.api}"

    @property
    def gateway(self) -> Daemon:
        """Its process."""
        return self.daemons["gateway"]

    def raw(self, name: str, *models: str) -> Daemon:
        """A server over bare sockets."""
        port = free_port()
        command = ["tests.fakes.raw_server", str(port), *models]
        return self._add(name, HostProcess(command, port, "openai", "/v1/models"))

    def scripted(self, name: str, *options: str) -> Daemon:
        """A scripted neuron; the options are the models it begins with, and those of its command."""
        port = free_port()
        command = ["tests.fakes.faulty_neuron", name, str(port), *options]
        return self._add(name, HostProcess(command, port, "neuron", "/health"))

    def neuron(self, name: str, *options: str) -> Daemon:
        """A real one."""
        port = free_port()
        command = ["cortex.cli.neuron", "serve", "--host", "127.0.0.1", "--port", str(port), *options]
        return self._add(name, HostProcess(command, port, "neuron", "/health"))

    def _add(self, name: str, host: HostProcess) -> Daemon:
        self.hosts[name] = host
        return self.start(name)

    def start(self, name: str) -> Daemon:
        """Start a host (again), and wait until it answers."""
        host = self.hosts[name]
        daemon = self._daemon(host.command, name)
        daemon.wait_for(host.base + host.ready)
        return daemon

    def _daemon(self, command: list[str], name: str) -> Daemon:
        self._starts += 1
        daemon = self._stack.enter_context(Daemon(command, self.folder / f"{name}-{self._starts}.log", self.environ))
        self.daemons[name] = daemon
        return daemon

    def configure(self, settings: str = "", sections: str = "") -> None:
        """Write both files: `models` is the one, `settings` stand under `[gateway]`."""
        neurons = "".join(
            f'[[neurons]]\nname = "{name}"\nendpoint = "{host.base}{"/v1" if host.kind == "openai" else ""}"\n'
            f'kind = "{host.kind}"\n'
            for name, host in self.hosts.items()
        )
        (self.folder / "cortex.toml").write_text(
            f'[gateway]\nlisten = "127.0.0.1:{self.api}"\nmetrics_listen = "127.0.0.1:{self.metrics_port}"\n'
            f"poll_secs = 0.2\n{settings}\n[usage]\nledger = {json.dumps(str(self.ledger_file))}\n{sections}\n{neurons}"
        )
        (self.folder / "models.toml").write_text(self.models)

    def start_gateway(self, *, all_hosts: bool = True) -> Daemon:
        """Start it (again) on the files, and wait until it answers, and has met all its hosts."""
        self.ledger_bytes_at_start = self.ledger_file.stat().st_size if self.ledger_file.exists() else 0
        command = ["cortex.cli.cortex", "serve", "-c", str(self.folder / "cortex.toml")]
        daemon = self._daemon(command, "gateway")
        least = len(self.hosts) if all_hosts else 0
        daemon.wait_for(f"{self.base}/health", lambda health: health["nodes"]["healthy"] >= least)
        return daemon

    def sample(self, name: str, **labels: str) -> float:
        """The sum of a metric over all series with these labels."""
        return sample(self.scrape(), name, **labels)

    def scrape(self) -> str:
        """The gateway's metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as response:
            return str(response.read().decode())

    def fleet(self) -> Mapping[str, Any]:
        """The gateway's picture of the hosts, by name."""
        return {host["name"]: host for host in get_json(f"{self.base}/api/fleet")["hosts"]}

    def until(self, condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> float:
        """Wait for something; how long it took."""
        started = time.monotonic()
        while not condition():
            assert time.monotonic() - started < seconds, (
                f"{what} not within {seconds} s:\n{self.gateway.output()[-4000:]}"
            )
            time.sleep(0.01)
        return time.monotonic() - started

    def idle(self) -> None:
        """Until nothing is in flight, nobody waits, and no client is connected."""
        self.until(lambda: not self.busy(), "idle")

    def busy(self) -> dict[str, float]:
        """What is still going on at the gateway; empty when it is idle."""
        text = self.scrape()
        names = ("cortex_requests_in_flight", "cortex_requests_waiting", "cortex_model_in_flight")
        found = {name: sample(text, name) for name in names} | {"connections": float(connections(self.api))}
        return {name: value for name, value in found.items() if value}

    def lines(self) -> list[dict[str, Any]]:
        """The ledger's lines."""
        return ledger_lines(self.ledger_file)

    def freeze(self, name: str) -> None:
        """SIGSTOP."""
        self.daemons[name].process.send_signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """SIGCONT."""
        self.daemons[name].process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def body_of(path: str, prompt: str, *, stream: bool, model: str) -> dict[str, Any]:
    """A request of any dialect."""
    if path == "/v1/completions":
        return {"model": model, "prompt": prompt, "stream": stream}
    if path == "/v1/responses":
        return {"model": model, "input": prompt, "stream": stream}
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": prompt}], "stream": stream}
    return {**body, "max_tokens": 64} if path == "/v1/messages" else body


def ask(cluster: Cluster, path: str, body: Mapping[str, Any], seconds: float = 60.0) -> Exchange:
    """One request to the gateway."""
    return asyncio.run(exchange(cluster.api, path, body, seconds=seconds))


def sample(text: str, name: str, **labels: str) -> float:
    """The sum of a metric over all series with these labels in a scrape."""
    samples = (one for family in text_string_to_metric_families(text) for one in family.samples)
    return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())


def ledger_lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines; a torn one, as a full disk leaves it, is passed over."""
    found = []
    for raw in path.read_bytes().splitlines():
        try:
            found.append(json.loads(raw))
        except ValueError:
            continue
    return found


def connections(port: int) -> int:
    """Established connections whose own end is this local port."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(1 for row in rows if int(row[1].rpartition(":")[2], 16) == port and row[3] == _ESTABLISHED)


def resident_bytes(pid: int) -> int:
    """Memory of a process that is no page of a file."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024


def open_files(pid: int) -> int:
    """File descriptors of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
