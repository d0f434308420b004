"""Parallel streams through a real `neuron serve`: tokens a second, first token, gaps while a long prompt arrives.

Run: python -m benches.serving [--rival PYTHON] [--model FILE] [--streams 1 8 32] [--threads N] [--rounds N]
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benches.serving.streams import NEW_TOKENS, Stream, complete, prompt
from cortex.ops.starter import cached_starter
from tests.e2e.daemons import Daemon, free_port

ROOT = Path(__file__).resolve().parents[2]
PROMPT_WORDS, LONG_WORDS = 130, 2000
BUSY_STREAMS, BUSY_TOKENS, LEAD_SECONDS = 8, 256, 0.5
LOAD_SECONDS = 300.0
ENGINE_THREADS = ("cortex-engine", "kernel-")
TICKS_PER_SECOND = 100
INSTALL = "The rival is llama.cpp's server in the wheel xllamacpp: pip install xllamacpp in an environment of its own."


@dataclass(frozen=True)
class Server:
    """A server that has the model."""

    name: str
    model: str
    port: int
    process: int

    def cpu_seconds(self) -> tuple[float, float]:
        """CPU time of all threads, and of those that are not the engine's."""
        total = other = 0.0
        for task in Path(f"/proc/{self.process}/task").iterdir():
            name, fields = (task / "stat").read_text().rsplit(")", 1)
            used = sum(int(field) for field in fields.split()[11:13]) / TICKS_PER_SECOND
            total += used
            if not name.split("(", 1)[1].startswith(ENGINE_THREADS):
                other += used
        return total, other


@dataclass(frozen=True)
class Round:
    """What so many streams at once gave."""

    per_second: float
    per_cpu_second: float
    first: float
    python_share: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benches.serving", description=__doc__, epilog=INSTALL)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rival", help="a Python that has xllamacpp")
    parser.add_argument("--model", type=Path, default=cached_starter(), help="a GGUF file; default: the starter model")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32], help="default: 1 8 32")
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    options = parser.parse_args()
    with ExitStack() as stack:
        servers = [stack.enter_context(ours(options.model, options.threads))]
        if options.rival:
            most = max(*options.streams, BUSY_STREAMS + 1)
            servers.append(stack.enter_context(rival(options.rival, options.model, options.threads, most)))
        asyncio.run(compare(servers, options.streams, options.rounds))


async def compare(servers: list[Server], widths: list[int], rounds: int) -> None:
    """In turn, round after round; the first round is not counted."""
    found: dict[tuple[str, int], list[Round]] = {}
    gaps: dict[str, list[float]] = {server.name: [] for server in servers}
    for at in range(rounds + 1):
        for server in servers if at % 2 else reversed(servers):
            for width in widths:
                measured = await parallel(server, width, seed=1000 * at + width)
                if at > 0:
                    found.setdefault((server.name, width), []).append(measured)
            if at > 0:
                gaps[server.name] += await interrupted(server, seed=100_000 + 100 * at)
    print(f"{'':16}{'streams':>8}{'tok/s':>8}{'tok/CPU-s':>11}{'TTFT p50 ms':>13}{'Python of CPU':>15}")
    for (name, width), measured in sorted(found.items(), key=lambda item: (item[0][1], item[0][0])):
        rates = [statistics.median(getattr(one, field) for one in measured) for field in Round.__dataclass_fields__]
        python = f"{rates[3]:.1%}" if name == servers[0].name else ""
        print(f"{name:16}{width:>8}{rates[0]:>8.0f}{rates[1]:>11.0f}{1000 * rates[2]:>13.0f}{python:>15}")
    for name, all_gaps in gaps.items():
        p50, p99 = statistics.median(all_gaps), statistics.quantiles(all_gaps, n=100)[98]
        text = f"{name}: {BUSY_STREAMS} streams while {LONG_WORDS} words arrive"
        print(f"{text}: gaps p50 {1000 * p50:.0f} ms, p99 {1000 * p99:.0f} ms")


async def parallel(server: Server, width: int, *, seed: int) -> Round:
    """So many new prompts at once."""
    cpu, start = server.cpu_seconds(), time.monotonic()
    texts = [prompt(PROMPT_WORDS, seed * 100 + number) for number in range(width)]
    streams = await asyncio.gather(*(complete(server.port, server.model, text) for text in texts))
    seconds, after = time.monotonic() - start, server.cpu_seconds()
    used, other = after[0] - cpu[0], after[1] - cpu[1]
    tokens = width * NEW_TOKENS
    return Round(tokens / seconds, tokens / used, statistics.median(stream.first for stream in streams), other / used)


async def interrupted(server: Server, *, seed: int) -> list[float]:
    """Gaps of running streams from when a long prompt is sent until its first token."""

    async def arrive() -> Stream:
        await asyncio.sleep(LEAD_SECONDS)
        return await complete(server.port, server.model, prompt(LONG_WORDS, seed), 1)

    running = [
        complete(server.port, server.model, prompt(8, seed + 1 + number), BUSY_TOKENS) for number in range(BUSY_STREAMS)
    ]
    long, *streams = await asyncio.gather(arrive(), *running)
    return [gap for stream in streams for gap in stream.gaps(long.sent, long.arrivals[0])]


@contextmanager
def ours(model: Path, threads: int) -> Iterator[Server]:
    """`neuron serve` with the model loaded."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        (folder / "neuron.toml").write_text(f"[harness.candle]\nthreads = {threads}\n", encoding="utf-8")
        command = ["cortex.cli.neuron", "serve", "--config", str(folder / "neuron.toml"), "--port", str(port)]
        with Daemon([*command, "--host", "127.0.0.1"], folder / "log") as daemon:
            daemon.wait_for(f"http://127.0.0.1:{port}/health")
            body = f'{{"model_id": "it", "source": "{model}"}}'.encode()
            url = f"http://127.0.0.1:{port}/models/load"
            request = urllib.request.Request(url, body, {"content-type": "application/json"})
            urllib.request.urlopen(request, timeout=LOAD_SECONDS).close()
            yield Server("cortex", "it", port, daemon.process.pid)


@contextmanager
def rival(python: str, model: Path, threads: int, slots: int) -> Iterator[Server]:
    """llama.cpp's server with the model loaded."""
    port = free_port()
    command = [python, "-m", "benches.serving.llama_server", str(model), str(port), str(threads), str(slots)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline()
        assert address, INSTALL
        try:
            yield Server("llama-server", "it", int(address.strip().rsplit(":", 1)[1]), process.pid)
        finally:
            process.terminate()


if __name__ == "__main__":
    sys.exit(main())
