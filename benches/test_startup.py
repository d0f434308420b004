"""How long people wait: the command line's help, and the gateway until it listens.

Run: make bench, or: pytest benches/test_startup.py --benchmark-enable
Aims: `cortex --help` under 0.3 s; `cortex serve` to listening under 1 s.
"""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

from tests.e2e.daemons import Daemon, free_port


def test_help(benchmark: BenchmarkFixture) -> None:
    """The whole process of `cortex --help`."""
    command = [sys.executable, "-m", "cortex.cli.cortex", "--help"]
    benchmark.pedantic(lambda: subprocess.run(command, check=True, capture_output=True), rounds=10, warmup_rounds=1)


def test_gateway_until_it_listens(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """From starting the process to the first answer of /health, asked for every 20 ms; one at a time."""
    with ExitStack() as daemon:

        def start() -> None:
            port, metrics = free_port(), free_port()
            command = ["cortex.cli.cortex", "serve", "--listen", f"127.0.0.1:{port}"]
            command += ["--metrics-listen", f"127.0.0.1:{metrics}"]
            started = daemon.enter_context(Daemon(command, tmp_path / f"{port}.log"))
            started.wait_for(f"http://127.0.0.1:{port}/health")

        benchmark.pedantic(start, teardown=daemon.close, rounds=10, warmup_rounds=1)
