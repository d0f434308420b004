"""`neuron bench`: measure a model on this machine and print it."""

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cortex.cli.output import human_bytes, print_json, print_table, progress_bar, say
from cortex.config.neuron import CandleConfig
from cortex.errors import InvalidField
from cortex.neuron.bench import BenchPlan, BenchReport, Row, bench
from cortex.neuron.fetch import Fetch
from cortex.neuron.selection import quant_at_load
from cortex.neuron.sources import Sources

__all__ = ["BenchOptions", "run_bench"]


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What the command line says; `prompt` and `batch` are numbers with commas between them."""

    model: str
    quant: str | None
    prompt: str
    generate: int
    batch: str
    threads: int | None
    rounds: int
    as_json: bool


def run_bench(options: BenchOptions) -> None:
    """Resolve the model, measure, print. Raises CortexError."""
    prompts, batches = _numbers("prompt", options.prompt), _numbers("batch", options.batch)
    progress = _Progress(sys.stderr.isatty())
    sources = Sources.of(CandleConfig(), os.environ)
    path = sources.resolve(options.model, quant=options.quant, fetch=Fetch(progress.fetch))
    plan = BenchPlan(
        prompts=prompts,
        generate=options.generate,
        batches=batches,
        rounds=options.rounds,
        threads=options.threads,
        quant=quant_at_load(path, options.quant),
    )
    report = asyncio.run(bench(path, plan, on_load=progress.load, on_task=progress.task))
    progress.clear()
    if options.as_json:
        print_json(msgspec.to_builtins(report))
    else:
        _print(path, report)


def _numbers(name: str, text: str) -> tuple[int, ...]:
    """`128,512` as numbers; an empty text has none."""
    try:
        return tuple(int(number) for number in text.split(",") if number.strip())
    except ValueError as exc:
        raise InvalidField(f"--{name} takes numbers with commas between them, not {text!r}", param=name) from exc


def _print(path: Path, report: BenchReport) -> None:
    model, machine = report.model, report.machine
    say(f"{model.name} ({path.name}): {model.quantisation}, {human_bytes(model.weights_bytes)} of weights")
    say(f"loaded in {report.load_seconds:.2f} s, {human_bytes(model.weights_bytes / report.load_seconds)} a second")
    say(
        f"{machine.threads} threads, {machine.simd}: memory {human_bytes(machine.bytes_per_second)} a second, "
        f"{machine.multiply_adds_per_second / 1e9:.0f} billion multiply-adds a second"
    )
    print_table(("TASK", "BATCH", "TOKENS/S", "BEST", "OF THE LIMIT"), [_cells(row) for row in report.rows])


def _cells(row: Row) -> tuple[str, ...]:
    rates = (f"{row.tokens_per_second:.1f}", f"{row.best:.1f}")
    return (f"{row.task} {row.tokens}", str(row.batch), *rates, f"{row.limit.share:.0%} {row.limit.resource}")


class _Progress:
    """One line on a terminal, overwritten; nothing in a pipe."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown

    def fetch(self, done: int, total: int) -> None:
        self._show(f"fetching {progress_bar(done, total)}")

    def load(self, stage: str, done: int, total: int) -> None:
        self._show(f"loading, {stage} {progress_bar(done, total)}")

    def task(self, text: str) -> None:
        self._show(text)

    def clear(self) -> None:
        self._show("")

    def _show(self, text: str) -> None:
        if self._shown:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
