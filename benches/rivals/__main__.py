"""Our engine beside rivals on one model in several formats: decode, prefill, load, in turn, round after round.

Run: python -m benches.rivals RIVAL_PYTHON [--model FILE ...] [--transformers PYTHON] [--rounds N] [--threads N ...]
"""

import argparse
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from benches.rivals.report import OURS, Entrant, Measured, print_loads, print_repeats, print_tasks
from benches.rivals.worker import DECODE_TOKENS
from cortex.ops.starter import cached_starter

ROOT = Path(__file__).resolve().parents[2]
LLAMA_CPP, TRANSFORMERS = "llama.cpp", "transformers"
MODULES = {OURS: "ours", LLAMA_CPP: "llama_cpp_python", TRANSFORMERS: "transformers_bf16"}
TASKS = ("prefill 128", "prefill 512", "decode 8")
REPEATED = "repeat 2048"
INSTALL = """\
A rival is no dependency of this project: give it an environment of its own (built from source: 5 to 10 minutes).
  python3 -m venv /tmp/rival
  CMAKE_ARGS=-DGGML_NATIVE=ON /tmp/rival/bin/pip install llama-cpp-python==0.3.36
  .venv/bin/python -m benches.rivals /tmp/rival/bin/python"""


class Worker:
    """One engine in its process with one file; it sleeps while the others are measured."""

    def __init__(self, python: str, engine: str, model: Path, sizes: tuple[int, int]) -> None:
        model.read_bytes()  # into the page cache
        command = [python, "-m", f"benches.rivals.{MODULES[engine]}", str(model)]
        self._process = subprocess.Popen(
            [*command, *map(str, sizes)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        hello = self._read()
        print(f"{engine}: {hello['about']}")
        form = model.stem.rsplit(".", 1)[-1].rsplit("-", 1)[-1].upper() if engine != TRANSFORMERS else "BF16"
        size = model.stat().st_size
        self.entrant = Entrant(engine, form, size, hello["load_seconds"], hello["resident_bytes"])

    def measure(self, task: str, salt: int) -> Measured:
        """One measurement."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{task} {salt}\n")
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._process.args} ended with {self._process.wait()}\n\n{INSTALL}")
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benches.rivals", description=__doc__, epilog=INSTALL)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("rival_python", help="the Python that has llama-cpp-python")
    parser.add_argument("--model", type=Path, nargs="+", default=[cached_starter()], help="one model's GGUF files")
    parser.add_argument(
        "--transformers", help="a Python with torch, transformers, accelerate and gguf: bf16 of the first file"
    )
    parser.add_argument("--rounds", type=int, default=7, help="default: 7")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    parser.add_argument("--tasks", nargs="+", default=TASKS, help=f"of prefill N, decode N; default: {TASKS}")
    parser.add_argument("--context", type=int, default=2304, help="tokens that every engine has room for")
    options = parser.parse_args()
    print(f"{options.rounds} rounds in turn, {DECODE_TOKENS} new tokens in decode N, after a prompt of N tokens")
    print(f"load average before: {os.getloadavg()[0]:.2f}")
    for threads in options.threads:
        compare(options, threads)


def compare(options: argparse.Namespace, threads: int) -> None:
    """Who comes first changes from round to round, and the first round warms up."""
    pythons = {OURS: sys.executable, LLAMA_CPP: options.rival_python}
    chosen = [(engine, python, model) for model in options.model for engine, python in pythons.items()]
    if options.transformers:
        chosen.append((TRANSFORMERS, options.transformers, options.model[0]))
    print(f"\n== {threads} threads")
    with ExitStack() as stack:
        workers = [
            stack.enter_context(Worker(python, engine, model, (threads, options.context)))
            for engine, python, model in chosen
        ]
        entrants = [worker.entrant for worker in workers]
        for at in range(options.rounds + 1):
            for number, task in enumerate(options.tasks):
                for worker in reversed(workers) if at % 2 else workers:
                    measured = worker.measure(task, 1 + number + len(options.tasks) * at)
                    if at > 0:
                        worker.entrant.found.setdefault(task, []).append(measured)
        print_tasks(entrants)
        print_loads(entrants)
        ours = [worker for worker in workers if worker.entrant.engine == OURS]
        for worker in ours if options.context > 2048 else []:
            worker.entrant.found[REPEATED] = [worker.measure(REPEATED, 90_000 + at) for at in range(3)]
            print_repeats([worker.entrant], REPEATED)


if __name__ == "__main__":
    main()
