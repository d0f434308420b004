"""`cortex usage`: sums the usage ledger by key, model, host or outcome."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from cortex.cli.output import print_json, print_table
from cortex.config import load_gateway
from cortex.errors import ConfigError

__all__ = ["run_usage"]

_BY = ("key", "model", "neuron", "api", "outcome")
_FIELDS = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens")


def run_usage(file: Path | None, config: Path | None, *, by: str, days: float, as_json: bool) -> None:
    """Sum what ended in the last days. Raises ConfigError where there is no ledger."""
    if by not in _BY:
        raise ConfigError(f"--by {by}: choose {', '.join(_BY[:-1])} or {_BY[-1]}")
    since = time.time() - days * 86_400
    path = file or _configured(config)
    sums: dict[str, dict[str, int]] = {}
    for line in _ended(path, since):
        row = sums.setdefault(str(line.get(by) or "-"), dict.fromkeys(_FIELDS, 0))
        row["requests"] += 1
        for name in _FIELDS[1:]:
            row[name] += int(line.get(name, 0))
    rows = [{by: name, **row} for name, row in sorted(sums.items(), key=lambda one: -one[1]["requests"])]
    if as_json:
        print_json(rows)
        return
    head = (by.upper(), "REQUESTS", "PROMPT", "OF IT CACHED", "GENERATED")
    print_table(head, [[str(value) for value in row.values()] for row in rows])


def _configured(config: Path | None) -> Path:
    ledger = load_gateway(config, os.environ).config.usage.ledger
    if ledger is None:
        raise ConfigError("no usage ledger: write usage.ledger in cortex.toml, or name the file")
    return Path(ledger)


def _ended(path: Path, since: float) -> Iterator[dict[str, Any]]:
    """The endings, each request once."""
    seen: set[str] = set()
    try:
        with path.open("rb") as lines:
            for raw in lines:
                try:
                    line = msgspec.json.decode(raw, type=dict[str, Any])
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue
                if line.get("event") == "ended" and line["at"] >= since and line["id"] not in seen:
                    seen.add(line["id"])
                    yield line
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
