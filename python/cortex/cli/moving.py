"""Moving models by hand: load with progress, unload, pin, and what a host may do; as sentences or as JSON."""

import sys
import time
from typing import Any

from cortex.cli.gateway_calls import GatewayCalls
from cortex.cli.output import human_bytes, print_json, progress_bar, say
from cortex.errors import CortexError, LoadError

__all__ = ["change_duty", "change_pin", "load_model", "unload_model"]

_LOOK_SECONDS = 0.5
_DRAIN_MARGIN = 15.0


def load_model(endpoint: str, model: str, host: str | None, *, wait: bool, as_json: bool) -> None:
    """Begin the load and, with `wait`, show how far it is until it ended. Raises LoadError for one that failed."""
    calls = GatewayCalls(endpoint)
    told = calls.post("/api/admin/models/load", {"model": model, "host": host})
    for victim in told.get("evict", ()):
        say(f"{victim} has to leave {told['host']}")
    if wait and told["status"] != "loaded":
        told = _watched(calls, told)
    if as_json:
        print_json(told)
    else:
        size = f" ({human_bytes(told['bytes'])})" if told.get("bytes") else ""
        say(f"{told['model']} is {told['status']} on {told['host']}{size}")


def unload_model(endpoint: str, model: str, host: str | None, *, drain_seconds: float, as_json: bool) -> None:
    """Unload from one host, or from all."""
    body = {"model": model, "host": host, "drain_seconds": drain_seconds}
    told = GatewayCalls(endpoint).post("/api/admin/models/unload", body, seconds=drain_seconds + 120.0)
    _tell(told, f"{told['model']} left {', '.join(told['hosts'])}", as_json=as_json)


def change_pin(endpoint: str, model: str, host: str, *, pin: bool, as_json: bool) -> None:
    """Keep a model on a host, or let it go again."""
    path = f"/api/admin/models/{'pin' if pin else 'unpin'}"
    told = GatewayCalls(endpoint).post(path, {"model": model, "host": host})
    where = ", ".join(told["pinned_on"]) or "no host"
    _tell(told, f"{told['model']} is pinned by hand on {where}{_while(told)}", as_json=as_json)


def change_duty(endpoint: str, host: str, duty: str, *, wait_seconds: float = 0.0, as_json: bool) -> None:
    """`cordon`, `drain` or `uncordon` a host."""
    body = {"wait_seconds": wait_seconds} if duty == "drain" else {}
    seconds = wait_seconds + _DRAIN_MARGIN
    told = GatewayCalls(endpoint).post(f"/api/admin/hosts/{host}/{duty}", body, seconds=seconds)
    text = f"{told['host']} is {told['duty']}, {told['in_flight']} requests under way{_while(told)}"
    _tell(told, text, as_json=as_json)
    if duty == "drain" and wait_seconds and told["in_flight"]:
        raise CortexError(f"{told['in_flight']} requests are still under way on {host} after {wait_seconds:g} s")


def _while(told: dict[str, Any]) -> str:
    return "" if told.get("kept") else "; until the gateway restarts, since it has no gateway.state_file"


def _tell(told: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(told)
    else:
        say(text)


def _watched(calls: GatewayCalls, told: dict[str, Any]) -> dict[str, Any]:
    """Until the model is loaded on the host or its load has failed."""
    model, host = told["model"], told["host"]
    while True:
        fleet = calls.get("/api/fleet")
        entry = _entry(fleet, model, host)
        running = any(job["model"] == model for job in fleet["loads"])
        if not running and entry is not None and entry["status"] == "loaded":
            _line("")
            return {"model": model, "status": "loaded", "host": host, "bytes": entry["bytes"]}
        if not running and (entry is None or entry["status"] not in ("fetching", "loading")):
            _line("")
            raise LoadError(_failure(fleet, model, host) or f"the load of {model} on {host} was given up")
        _line(_progress(model, host, entry))
        time.sleep(_LOOK_SECONDS)


def _entry(fleet: dict[str, Any], model: str, host: str) -> dict[str, Any] | None:
    models = (entry for one in fleet["hosts"] if one["name"] == host for entry in one["models"])
    return next((entry for entry in models if entry["id"] == model), None)


def _failure(fleet: dict[str, Any], model: str, host: str) -> str | None:
    found = (one for one in fleet["failures"] if (one["model"], one["host"]) == (model, host))
    return next((f"{host} could not load {model}: {one['message']}" for one in found), None)


def _progress(model: str, host: str, entry: dict[str, Any] | None) -> str:
    progress = None if entry is None else entry["progress"]
    if progress is None:
        return f"{model} on {host}: starting"
    words = [f"{model} on {host}: {progress['stage']}", progress_bar(progress["done_bytes"], progress["total_bytes"])]
    if progress["eta_seconds"] is not None:
        words.append(f"{progress['eta_seconds']:.0f} s left")
    return " ".join(word for word in words if word)


def _line(text: str) -> None:
    """Rewrite one line on a terminal; elsewhere say nothing, so that logs stay short."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
