"""`cortex top`: what the fleet does right now, drawn anew every second until Ctrl-C."""

import sys
import time
from collections.abc import Iterator
from typing import Any

from cortex.cli.output import human_bytes, print_json, print_line, print_table, progress_bar
from cortex.cli.status import fetch_fleet

__all__ = ["print_top", "show_top"]

_CLEAR = "\x1b[H\x1b[2J"
_NONE = "-"


def show_top(endpoint: str, *, every_seconds: float, once: bool, as_json: bool) -> None:
    """Draw until Ctrl-C; once where nobody looks (a pipe), or where it is asked for."""
    live = not once and sys.stdout.isatty() and not as_json
    while True:
        fleet = fetch_fleet(endpoint)
        if as_json:
            print_json(fleet)
            return
        if live:
            sys.stdout.write(_CLEAR)
        print_top(fleet)
        sys.stdout.flush()
        if not live:
            return
        try:
            time.sleep(every_seconds)
        except KeyboardInterrupt:
            return


def print_top(fleet: dict[str, Any]) -> None:
    """Hosts with their memory, then the models that are there, the busiest first."""
    print_table(("HOST", "HEALTH", "REQUESTS", "MEMORY", "LOAD"), _host_rows(fleet))
    print_line("")
    head = ("MODEL", "HOST", "RUNNING", "QUEUED", "PLACES", "TOKENS/S OUT", "TOKENS/S IN", "KV CACHE", "STATE")
    rows = sorted(_model_rows(fleet), key=lambda row: -int(row[2]))
    print_table(head, rows or [("none", *[_NONE] * (len(head) - 1))])


def _host_rows(fleet: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for host in fleet["hosts"]:
        total = sum(device["total_bytes"] for device in host["devices"])
        used = sum(device["used_bytes"] or 0 for device in host["devices"])
        busy = [device["utilization_pct"] for device in host["devices"] if device.get("utilization_pct") is not None]
        memory = f"{progress_bar(used, total, 10)} of {human_bytes(total)}" if total else _NONE
        health = host["health"] if host.get("duty", "active") == "active" else f"{host['health']}, {host['duty']}"
        requests = sum(model["in_flight"] for model in host["models"])
        yield host["name"], health, str(requests), memory, f"{max(busy)}%" if busy else _NONE


def _model_rows(fleet: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for host in fleet["hosts"]:
        for model in host["models"]:
            live = model.get("live") or {}
            progress = model["progress"]
            state = model["status"]
            if progress is not None:
                state = f"{state} {progress_bar(progress['done_bytes'], progress['total_bytes'], 10)}"
            yield (
                model["id"],
                host["name"],
                str(model["in_flight"]),
                str(live.get("queue_depth", _NONE)),
                str(live.get("max_in_flight") or _NONE),
                _rate(live.get("tok_s_decode")),
                _rate(live.get("tok_s_prefill")),
                _share(live.get("kv_blocks_used"), live.get("kv_blocks_total")),
                state,
            )


def _rate(tokens: float | None) -> str:
    return _NONE if tokens is None else f"{tokens:.0f}"


def _share(used: int | None, total: int | None) -> str:
    return f"{(used or 0) / total:.0%}" if total else _NONE
