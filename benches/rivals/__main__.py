"""Our engine beside llama.cpp on one model file: decode and prefill, wall and CPU time, in turn, round after round.

Run: python -m benches.rivals RIVAL_PYTHON [--model FILE] [--rounds N] [--threads N ...]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from benches.rivals.worker import DECODE_TOKENS, PROMPT_TOKENS
from cortex.ops.starter import cached_starter

ROOT = Path(__file__).resolve().parents[2]
OURS, RIVAL = "cortex", "llama.cpp"
MODULES = {OURS: "benches.rivals.ours", RIVAL: "benches.rivals.llama_cpp_python"}
KINDS = {"prefill": f"prefill {PROMPT_TOKENS}", "decode": f"decode {DECODE_TOKENS}"}
INSTALL = """\
The rival is no dependency of this project: give it an environment of its own (built from source: 5 to 10 minutes).
  python3 -m venv /tmp/rival
  CMAKE_ARGS=-DGGML_NATIVE=ON /tmp/rival/bin/pip install llama-cpp-python==0.3.36
  .venv/bin/python -m benches.rivals /tmp/rival/bin/python"""

Measured = dict[str, float]


class Worker:
    """One engine in its process; it sleeps while the other is measured."""

    def __init__(self, python: str, module: str, model: Path, threads: int) -> None:
        command = [python, "-m", module, str(model), str(threads)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.about = str(self._read()["about"])

    def measure(self, kind: str, salt: int) -> Measured:
        """One measurement."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{kind} {salt}\n")
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
    parser.add_argument("--model", type=Path, default=cached_starter(), help="a GGUF file; default: the starter model")
    parser.add_argument("--rounds", type=int, default=7, help="default: 7")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    options = parser.parse_args()
    print(f"{options.model.name}, {options.rounds} rounds in turn; load average before: {os.getloadavg()[0]:.2f}")
    for threads in options.threads:
        print_table(threads, compare(options.rival_python, options.model, threads, options.rounds))


def compare(rival_python: str, model: Path, threads: int, rounds: int) -> dict[str, dict[str, list[Measured]]]:
    """Measurements by engine and kind; who comes first changes from round to round, and the first round warms up."""
    found: dict[str, dict[str, list[Measured]]] = {name: {kind: [] for kind in KINDS} for name in MODULES}
    pythons = {OURS: sys.executable, RIVAL: rival_python}
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(Worker(pythons[name], module, model, threads)) for name, module in MODULES.items()
        }
        print("\n" + "\n".join(worker.about for worker in workers.values()))
        for at in range(rounds + 1):
            order = sorted(workers, reverse=at % 2 == 1)
            for kind in KINDS:
                for name in order:
                    measured = workers[name].measure(kind, 2 * at + (kind == "decode"))
                    if at > 0:
                        found[name][kind].append(measured)
    return found


def print_table(threads: int, found: dict[str, dict[str, list[Measured]]]) -> None:
    """Medians (and the best), our median by the rival's, and what else the machine did."""
    print(f"{'':24}{OURS + ' (best)':>18}{RIVAL + ' (best)':>20}{'ratio':>8}{'others, cores':>16}")
    for kind, label in KINDS.items():
        ours, rival = found[OURS][kind], found[RIVAL][kind]
        others = f"{median(ours, 'others'):.2f}/{median(rival, 'others'):.2f}"
        for field, unit in (("per_second", "tok/s"), ("per_cpu_second", "tok/CPU-s")):
            row = f"{threads} thr, {label} {unit}"
            ratio = median(ours, field) / median(rival, field)
            print(f"{row:28}{told(ours, field):>18}{told(rival, field):>18}{ratio:8.2f}{others:>14}")


def median(measured: list[Measured], field: str) -> float:
    """The median of one field."""
    return statistics.median(one[field] for one in measured)


def told(measured: list[Measured], field: str) -> str:
    """Median and best."""
    return f"{median(measured, field):.0f} ({max(one[field] for one in measured):.0f})"


if __name__ == "__main__":
    main()
