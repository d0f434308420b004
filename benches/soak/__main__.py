"""Run: python -m benches.soak [--requests N] [--seed N]; prints what happened, ends with 1 where anything is wrong."""

import argparse
import sys
import tempfile
from pathlib import Path

from benches.soak.run import CLIENTS, Report, soak
from tests.wire.endings import rules_there

_MIB = 1 << 20


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m benches.soak")
    parser.add_argument("--requests", type=int, default=10_000, help="default: 10000")
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    options = parser.parse_args()
    if not rules_there():
        print("shared/fixtures/wire is not beside this checkout: of streams only the ends are checked")
    with tempfile.TemporaryDirectory() as folder:
        report = soak(Path(folder), requests=options.requests, seed=options.seed)
    show(report)
    return 1 if report.wrong else 0


def show(report: Report) -> None:
    """Print it."""
    count = len(report.books.verdicts)
    print(f"{count} requests by {CLIENTS} clients in {report.seconds:.0f} s ({count / report.seconds:.0f} a second)")
    print("done meanwhile:", ", ".join(f"{what} {times}" for what, times in sorted(report.chaos.done.items())))
    print(f"\n{'':28}{'ending':10}{'code':34}{'requests':>8}")
    for (path, ending, code), times in sorted(report.books.endings().items()):
        print(f"{path:28}{ending:10}{code:34}{times:>8}")
    print(f"\n{'the gateway, idle':28}{'memory':>10}{'files':>8}{'tasks':>8}")
    for name, one in (("after 45 %", report.before), ("at the end", report.after)):
        print(f"{name:28}{one.resident_bytes / _MIB:>6.1f} MiB{one.open_files:>8}{one.tasks:>8}")
    print("\n" + ("\n".join(["WRONG:", *report.wrong[:40]]) if report.wrong else "every book agrees, nothing is left"))


if __name__ == "__main__":
    sys.exit(main())
