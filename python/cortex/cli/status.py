"""`cortex status`: hosts, devices, memory, models and loads of a fleet, as tables or as the gateway's own JSON."""

import time
from collections.abc import Iterator
from typing import Any

from cortex.cli.gateway_calls import GatewayCalls
from cortex.cli.output import human_bytes, print_json, print_table, progress_bar, say
from cortex.errors import UpstreamMalformed

__all__ = ["fetch_fleet", "print_status", "show_status"]

NONE = "-"


def show_status(endpoint: str, *, as_json: bool) -> None:
    """Ask the gateway at `endpoint` and print. Raises ConfigError, UpstreamUnreachable or UpstreamMalformed."""
    fleet = fetch_fleet(endpoint)
    if as_json:
        print_json(fleet)
    else:
        print_status(fleet, now=time.time())


def fetch_fleet(endpoint: str) -> dict[str, Any]:
    """The gateway's picture of the fleet, `GET /api/fleet`."""
    calls = GatewayCalls(endpoint)
    fleet = calls.get("/api/fleet")
    if not isinstance(fleet, dict) or "hosts" not in fleet:
        raise UpstreamMalformed(f"{calls.base} did not answer like a cortex gateway; see --endpoint.")
    return fleet


def print_status(fleet: dict[str, Any], *, now: float) -> None:
    """Three tables and what failed, and warnings on stderr; `now` is Unix seconds."""
    for warning in fleet.get("warnings", ()):
        say(f"warning: {warning}")
    if fleet["hosts"]:
        print_table(("HOST", "HEALTH", "DEVICE", "MEMORY USED", "LOAD"), _device_rows(fleet))
    else:
        print_table(("HOST",), [("none: list hosts as [[neurons]] in cortex.toml",)])
    print_table(("",), ())
    rows = list(_model_rows(fleet, now))
    head = ("MODEL", "STATUS", "HOST", "SIZE", "CONTEXT", "RUNNING", "LAST USED")
    print_table(head, rows or [("none", *[NONE] * (len(head) - 1))])
    failures = list(_failure_rows(fleet))
    if failures:
        print_table(("",), ())
        print_table(("FAILED", "HOST", "REASON"), failures)


def _device_rows(fleet: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for host in fleet["hosts"]:
        said = host["health"] if host.get("duty", "active") == "active" else f"{host['health']}, {host['duty']}"
        if not host["devices"]:
            device = "(OpenAI server)" if host.get("kind") == "openai" else NONE
            yield host["name"], said, device, NONE, NONE
        for place, one in enumerate(host["devices"]):
            name, health = (host["name"], said) if place == 0 else ("", "")
            yield name, health, f"{one['index']} {one['name'] or one['kind']}", _memory(one), _load(one)


def _memory(device: dict[str, Any]) -> str:
    total = human_bytes(device["total_bytes"])
    if device["used_bytes"] is None:
        return f"? of {total}"
    share = device["used_bytes"] / device["total_bytes"] if device["total_bytes"] else 0.0
    return f"{human_bytes(device['used_bytes'])} of {total} ({share:.0%})"


def _load(device: dict[str, Any]) -> str:
    busy, heat = device.get("utilization_pct"), device.get("temp_c")
    parts = [f"{busy}%" if busy is not None else "", f"{heat} °C" if heat is not None else ""]
    return " ".join(part for part in parts if part) or NONE


def _model_rows(fleet: dict[str, Any], now: float) -> Iterator[tuple[str, ...]]:
    """First what is on hosts, then what the catalogue has besides, then other names."""
    shown = set()
    pins = {(model["id"], host) for model in fleet["models"] for host in model.get("pinned_on", ())}
    for host in fleet["hosts"]:
        for model in host["models"]:
            shown.add(model["id"])
            size = human_bytes(model["bytes"]) if model["bytes"] else NONE
            context = str(model["context_length"] or NONE)
            used = _ago(now - model["last_used"]) if model["last_used"] else NONE
            state = "host is down" if host["health"] == "down" else _state(model)
            state += ", pinned" if (model["id"], host["name"]) in pins else ""
            yield model["id"], state, host["name"], size, context, str(model["in_flight"]), used
    for model in fleet["models"]:
        if model["alias_of"]:
            yield model["id"], f"alias of {model['alias_of']}", NONE, NONE, NONE, NONE, NONE
        elif model["id"] not in shown:
            size = human_bytes(model["bytes"]) if model["bytes"] else NONE
            yield model["id"], "not loaded", NONE, size, NONE, NONE, NONE


def _state(model: dict[str, Any]) -> str:
    progress = model["progress"]
    if progress is None:
        return str(model["status"])
    words = [str(model["status"]), progress_bar(progress["done_bytes"], progress["total_bytes"])]
    if progress["eta_seconds"] is not None:
        words.append(f"{progress['eta_seconds']:.0f} s left")
    return " ".join(word for word in words if word)


def _failure_rows(fleet: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    told = set()
    for failure in fleet["failures"]:
        told.add((failure["host"], failure["model"]))
        yield failure["model"], failure["host"], failure["message"]
    for host in fleet["hosts"]:
        for model in host["models"]:
            if model["error"] and (host["name"], model["id"]) not in told:
                yield model["id"], host["name"], model["error"]


def _ago(seconds: float) -> str:
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min ago"
    return f"{seconds // 3600:.0f} h ago" if seconds < 86400 else f"{seconds // 86400:.0f} d ago"
