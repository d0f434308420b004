"""Three hosts that boot, a repository, an inventory; skipped, saying what is missing, where this machine cannot."""

import http.client
import itertools
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cortex.ops.starter import cached_starter
from tests.fleet.rig.clients import MODEL
from tests.fleet.rig.machines import ADDRESS, Machine, network, ssh_config
from tests.fleet.rig.needs import missing
from tests.fleet.rig.packages import BROKEN, NEW, OLD, WHEELS, Repository, build_packages, build_wheel
from tests.fleet.rig.root import Root, cached, make_root

TOKEN = "rig-token-0123456789abcdef"
GATEWAY = f"""\
models_config = "models.toml"
[gateway]
listen = "0.0.0.0:31313"
metrics_listen = "0.0.0.0:31314"
[auth]
mode = "open"
token_file = "token"
[[neurons]]
name = "beast"
endpoint = "http://{ADDRESS}.12:13131"
[[neurons]]
name = "quad"
endpoint = "http://{ADDRESS}.13:13131"
"""
NEURON = """\
port = 13131
[auth]
token_file = "token"
[harness.candle]
threads = 1
context_length = 1024
kv_mb = 64
[[default_models]]
model_id = "small"
source = "/srv/models/MODEL"
"""
INVENTORY = """\
[repositories.cortex]
baseurl = "file:///srv/repository"
gpgcheck = false

[rollout]
wait_secs = 60
drain_secs = 20

[[hosts]]
name = "gate"
roles = ["gateway"]
repositories = ["cortex"]
files = {"/etc/cortex/cortex.toml" = "cortex.toml", "/etc/cortex/models.toml" = "models.toml"}
secrets = {"/etc/cortex/token" = "token"}

[[hosts]]
name = "beast"
roles = ["neuron"]
repositories = ["cortex"]
files = {"/etc/neuron/neuron.toml" = "neuron.toml"}
secrets = {"/etc/neuron/token" = "token"}

[[hosts]]
name = "quad"
roles = ["neuron"]
repositories = ["cortex"]
files = {"/etc/neuron/neuron.toml" = "neuron.toml"}
secrets = {"/etc/neuron/token" = "token"}
"""


@dataclass
class Fleet:
    """The rig: `folder` has the inventory and what it names."""

    folder: Path
    hosts: dict[str, Machine]
    repository: Repository
    environ: dict[str, str]

    def cortex(self, *arguments: str) -> tuple[int, str, str]:
        """Run our command as the operator."""
        command = [sys.executable, "-m", "cortex.cli.cortex", *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, **self.environ}, timeout=400, check=False
        )
        return done.returncode, done.stdout, done.stderr

    def deploy(self, *options: str) -> tuple[int, dict[str, Any]]:
        """Status, and hosts by name."""
        inventory, logs = str(self.folder / "inventory.toml"), str(self.folder / "logs")
        status, out, err = self.cortex("deploy", inventory, "--json", "--logs", logs, *options)
        assert out, err
        report = json.loads(out)
        found = {host["name"]: host for host in report["hosts"]}
        found["fleet"] = report["fleet"]
        return status, found

    def seconds(self, host: str, step: str) -> float:
        """How long steps of that title took on a host in all deployments so far, by its log."""
        log = (self.folder / "logs" / f"{host}.log").read_text(errors="replace")
        blocks = log.split("\n== ")
        ends = [
            one.partition("after ")[2]
            for title, one in itertools.pairwise(blocks)
            if title.split("\n")[0].endswith(f" {step}")
        ]
        return sum(float(end.split()[0]) for end in ends)

    def publish(self, *builds: tuple[str, str]) -> None:
        self.repository.publish(*builds)

    @property
    def address(self) -> str:
        """The gateway's, host:port."""
        return f"{self.hosts['gate'].address}:31313"

    def loaded(self) -> set[str]:
        """Hosts that have the model, as the gateway sees it; none where it does not answer."""
        try:
            with urllib.request.urlopen(f"http://{self.address}/api/fleet", timeout=10) as response:
                models = json.load(response)["models"]
        except (OSError, http.client.HTTPException):
            return set()
        return {host for model in models if model["id"] == MODEL for host in model["loaded_on"]}

    def until(self, holds: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
        """Ask again and again; an error that says what did not come to be."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, (
                f"not within {seconds:.0f} s: {what}\n{self.cortex('status', '-e', f'http://{self.address}')}"
            )
            time.sleep(0.1)


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Booted, with nothing of ours on it yet."""
    how = os.environ.get("CORTEX_TEST_FLEET", "")
    if how not in ("all", "short"):
        pytest.skip("hosts are booted by make test-fleet and make test-fleet-short only (root, Linux)")
    lacks = missing(tmp_path_factory.mktemp("trial"))
    if not cached_starter().is_file():
        lacks.append("the starter model (make model)")
    if lacks:
        pytest.skip(f"hosts cannot be booted here; missing: {', '.join(lacks)}")
    root = _root(how)
    packages, version = build_packages(root, *((OLD,) if how == "short" else (OLD, NEW, BROKEN)))
    folder = tmp_path_factory.mktemp("fleet")
    shelf = next(iter(packages.values())).parent / "shelf"
    shelf.mkdir(exist_ok=True)
    repository = Repository(shelf / "repository", packages, version)
    repository.publish(("cortex", OLD), ("helexa-neuron", OLD))
    build_wheel(shelf / "dist", version)
    binds = {shelf: "/srv", cached_starter().parent: "/srv-models", WHEELS: "/srv-wheels"}
    hosts = {
        name: Machine(root, folder / name, name, number, binds)
        for number, name in enumerate(("gate", "beast", "quad"), 11)
    }
    config = ssh_config(folder, root, {name: host.address for name, host in hosts.items()})
    environ = _operator(folder, config)
    with network():
        try:
            _boot(hosts, how)
            yield Fleet(folder, hosts, repository, environ)
        finally:
            for host in hosts.values():
                host.remove()


def _root(how: str) -> Root:
    """In CI, a machine that has none and reaches no mirror skips; who asks for all tests is told by an error."""
    if how == "short" and not cached():
        try:
            return make_root()
        except (AssertionError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"hosts cannot be booted here; no root file system is cached and none can be made: {error}")
    return make_root()


def _boot(hosts: dict[str, Machine], how: str) -> None:
    try:
        for host in hosts.values():
            host.start()
    except AssertionError as error:
        if how == "short":
            pytest.skip(f"hosts do not boot here: {error}")
        raise


@pytest.fixture(scope="session")
def deployed(fleet: Fleet) -> Fleet:
    """With our services on it; the first tests have done that already, where they ran."""
    if not fleet.loaded():
        status, hosts = fleet.deploy()
        assert status == 0, hosts
    return fleet


def _operator(folder: Path, config: Path) -> dict[str, str]:
    """The inventory's folder, and an ssh that knows the hosts, as ~/.ssh/config would tell it."""
    (folder / "inventory.toml").write_text(INVENTORY)
    (folder / "cortex.toml").write_text(GATEWAY)
    (folder / "models.toml").write_text("")
    (folder / "token").write_text(f"{TOKEN}\n")
    neuron = NEURON.replace("/srv/models/MODEL", f"/srv-models/{cached_starter().name}")
    (folder / "neuron.toml").write_text(neuron)
    bin_ = folder / "bin"
    bin_.mkdir()
    for name, call in (("ssh", f"/usr/bin/ssh -F {config}"), ("cortex", f"{sys.executable} -m cortex.cli.cortex")):
        (bin_ / name).write_text(f'#!/bin/sh\nexec {call} "$@"\n')
        (bin_ / name).chmod(0o755)
    return {"PATH": f"{bin_}:{os.environ['PATH']}", "CORTEX_NEURON_TOKEN": TOKEN}
