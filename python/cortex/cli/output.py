"""What commands print: data on stdout, messages on stderr, tables that stay readable in a pipe."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from cortex.errors import CortexError

__all__ = ["fail", "human_bytes", "print_json", "print_line", "print_table", "progress_bar", "say"]

UNITS = ("B", "KB", "MB", "GB", "TB")


def say(message: str) -> None:
    """A message for the person, on stderr."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


def fail(error: CortexError) -> NoReturn:
    """Say what went wrong and what to do, then end with status 1."""
    say(f"error: {error.message}")
    if error.hint:
        say(f"hint: {error.hint}")
    raise SystemExit(1)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_line(text: str) -> None:
    """One line on stdout."""
    sys.stdout.write(f"{text}\n")


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Left-aligned columns, two spaces apart, as wide as their widest cell."""
    table = [list(head), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    for row in table:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")


def human_bytes(count: float) -> str:
    """Bytes in decimal units with three digits at most: 98.4 MB."""
    for unit in UNITS:
        if count < 1000 or unit == UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable: the last unit takes everything")


def progress_bar(done: int, total: int, width: int = 20) -> str:
    """`[########............] 40%`; empty where the total is unknown."""
    if total <= 0:
        return ""
    share = min(max(done / total, 0.0), 1.0)
    filled = round(share * width)
    return f"[{'#' * filled}{'.' * (width - filled)}] {share:.0%}"
