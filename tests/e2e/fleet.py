"""A gateway process and neuron processes with configuration files of their own, for fault tests."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from tests.e2e.daemons import Daemon, free_port

MODEL = "starter"


class Fleet:
    """`cortex serve` in front of one `neuron serve` for each name; the catalogue knows the starter model."""

    def __init__(self, folder: Path, weights: Path, names: tuple[str, ...]) -> None:
        self.folder = folder
        self.weights = weights
        self.ports = {name: free_port() for name in names}
        self.api, self.metrics = free_port(), free_port()
        self.daemons: dict[str, Daemon] = {}
        self._stack = ExitStack()

    @property
    def base(self) -> str:
        """The gateway's address."""
        return f"http://127.0.0.1:{self.api}"

    def neuron_base(self, name: str) -> str:
        """One neuron's address."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def start_neuron(self, name: str, *options: str) -> Daemon:
        """Start (or start again) one host daemon, and wait until it answers."""
        command = ["cortex.cli.neuron", "serve", "--host", "127.0.0.1", "--port", str(self.ports[name]), *options]
        daemon = self._stack.enter_context(Daemon(command, self.folder / f"{name}.log"))
        self.daemons[name] = daemon
        daemon.wait_for(f"{self.neuron_base(name)}/health")
        return daemon

    def start_gateway(self) -> Daemon:
        """Write the configuration, start the gateway, wait until it answers."""
        neurons = "".join(
            f'[[neurons]]\nname = "{name}"\nendpoint = "{self.neuron_base(name)}"\n' for name in self.ports
        )
        (self.folder / "cortex.toml").write_text(
            f'[gateway]\nlisten = "127.0.0.1:{self.api}"\nmetrics_listen = "127.0.0.1:{self.metrics}"\n'
            f'poll_secs = 0.2\nload_wait_secs = 60\n[eviction]\nstrategy = "lru"\n{neurons}'
        )
        (self.folder / "models.toml").write_text(
            f'[[models]]\nid = "{MODEL}"\nsource = {json.dumps(str(self.weights))}\n'
            f'[[models]]\nid = "broken"\nsource = {json.dumps(str(self.folder / "broken.gguf"))}\n'
            f'[aliases]\n"claude-haiku" = "{MODEL}"\n'
        )
        command = ["cortex.cli.cortex", "serve", "-c", str(self.folder / "cortex.toml")]
        daemon = self._stack.enter_context(Daemon(command, self.folder / "gateway.log"))
        self.daemons["gateway"] = daemon
        daemon.wait_for(f"{self.base}/health")
        return daemon

    def wait_for_model(self, name: str, accept: Any) -> Any:
        """Wait until the neuron's own entry of the starter model satisfies `accept`."""
        return self.daemons[name].wait_for(f"{self.neuron_base(name)}/models", lambda models: accept(models))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
