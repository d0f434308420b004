"""Our gateway beside LiteLLM, Portkey, vllm-router and smg before one mock upstream, in turn, round after round.

Run: python -m benches.gateway_rivals [--rounds N] [--only NAME ...] [--tasks NAME ...]; the first run installs them.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

import uvloop

from benches.gateway_rivals.contestants import DIRECT, OURS, RIVALS, NotInstalled, ours
from benches.gateway_rivals.process import Running
from benches.gateway_rivals.tasks import TASKS, Figures, many_streams, resident_with_idle_clients
from tests.e2e.daemons import Daemon, free_port

Found = dict[str, dict[str, list[Figures]]]  # by task and contestant
_MIB = 1 << 20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benches.gateway_rivals", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--only", nargs="*", default=list(RIVALS), help=f"rivals, of {', '.join(RIVALS)}")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), help=f"of {list(TASKS)}")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder, mock = Path(name), free_port()
        daemon = stack.enter_context(Daemon(["benches.gateway_rivals.mock", str(mock)], folder / "mock.log"))
        daemon.wait_for(f"http://127.0.0.1:{mock}/v1/models")
        running, missing = start(stack, folder, mock, options.only)
        print(f"load average before: {os.getloadavg()[0]:.2f}; {os.cpu_count()} cores; {options.rounds} rounds in turn")
        found, failed = uvloop.run(measure(mock, running, options))
        for task in options.tasks:
            show(task, found[task], failed)
        uvloop.run(show_scale(mock, running))
        for reason in [*missing, *sorted(set(failed.values()))]:
            print(reason)


def start(stack: ExitStack, folder: Path, mock: int, names: list[str]) -> tuple[dict[str, Running], list[str]]:
    """All that can be started, and why the others cannot."""
    running: dict[str, Running] = {}
    missing: list[str] = []
    for name, make in {OURS: ours, **{name: RIVALS[name] for name in names}}.items():
        try:
            one = stack.enter_context(Running(make(folder, mock), folder / f"{name}.log"))
            one.wait()
            running[name] = one
        except NotInstalled as error:
            missing.append(f"not measured: {error}")
    return running, missing


async def measure(
    mock: int, running: dict[str, Running], options: argparse.Namespace
) -> tuple[Found, dict[tuple[str, str], str]]:
    """Who comes first changes from round to round; the first round warms up. What fails once is not tried again."""
    found: Found = defaultdict(lambda: defaultdict(list))
    failed: dict[tuple[str, str], str] = {}
    for at in range(options.rounds + 1):
        print(f"round {at} of {options.rounds}", file=sys.stderr)
        for task in options.tasks:
            translated, measured = TASKS[task]
            order = [(DIRECT, None), *running.items()]
            for name, one in order if at % 2 else order[::-1]:
                if (name, task) in failed or (translated and one is not None and not one.contestant.translates):
                    continue
                if translated and one is None:
                    continue
                try:
                    figures = await measured(mock if one is None else one.contestant.port, one)
                except (OSError, RuntimeError, TimeoutError) as error:
                    failed[name, task] = f"{name} fails {task}: {error!r}"[:300]
                    continue
                if at > 0:
                    found[task][name].append(figures)
    return found, failed


def median(figures: list[Figures], what: str) -> float:
    """Of all rounds."""
    return statistics.median(one[what] for one in figures)


def added(found: dict[str, list[Figures]], name: str, base: list[Figures]) -> float:
    """Milliseconds at the median, beyond the mock itself: the median of the rounds' own differences."""
    pairs = zip(found[name], base, strict=False)
    return statistics.median(one["p50_ms"] - other["p50_ms"] for one, other in pairs)


def show(task: str, found: dict[str, list[Figures]], failed: dict[tuple[str, str], str]) -> None:
    """One table; the ratios are the rival's figure by ours."""
    base = found.get(DIRECT) or [{"p50_ms": 0.0, "p99_ms": 0.0, "per_s": 0.0}] * 99
    whole = "per_s" in next(iter(found.values()), [{}])[0]
    unit = "request" if whole else "chunk"
    print(f"\n{task:26}{'added p50 ms':>14}{'by ours':>9}{f'CPU us/{unit}':>16}{'by ours':>9}", end="")
    print(f"{'requests/s':>12}{'/CPU-s':>9}" if whole else f"{'p99 ms':>12}")
    for name, figures in found.items():
        if name == DIRECT:
            continue
        plus, cpu = added(found, name, base), median(figures, "cpu_us")
        ratios = [plus / added(found, OURS, base), cpu / median(found[OURS], "cpu_us")] if OURS in found else [1, 1]
        print(f"{name:26}{plus:>14.3f}{ratios[0]:>9.1f}{cpu:>16.0f}{ratios[1]:>9.1f}", end="")
        print(f"{median(figures, 'per_s'):>12.0f}{1e6 / cpu:>9.0f}" if whole else f"{median(figures, 'p99_ms'):>12.2f}")
    for name, told in failed:
        if told == task:
            print(f"{name:26}{'fails':>14}")


async def show_scale(mock: int, running: dict[str, Running]) -> None:
    """500 streams of 40 chunks a second, and the memory with 1,000 idle clients: once for each."""
    print(
        f"\n{'500 streams at 40/s':26}{'gap p99 ms':>14}{'delay p50':>12}{'delay p99':>12}{'CPU us/chunk':>14}", end=""
    )
    print(f"{'MiB, 1000 idle':>16}")
    for name, one in [(DIRECT, None), *running.items()]:
        try:
            figures = await many_streams(mock if one is None else one.contestant.port, one)
            told = f"{figures['gap_p99_ms']:>14.1f}{figures['delay_p50_ms']:>12.1f}{figures['delay_p99_ms']:>12.1f}"
            told += f"{figures['cpu_us']:>14.0f}"
        except (OSError, RuntimeError, TimeoutError) as error:
            told = f"{'fails: ' + repr(error)[:44]:>52}"
        try:
            memory = "" if one is None else f"{await resident_with_idle_clients(one) / _MIB:>16.0f}"
        except (OSError, RuntimeError, TimeoutError):
            memory = f"{'fails':>16}"
        print(f"{name:26}{told}{memory}")
        await asyncio.sleep(1.0)


if __name__ == "__main__":
    main()
