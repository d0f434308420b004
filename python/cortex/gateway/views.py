"""Views: what the gateway tells about the fleet: the list of models, health, and the whole picture for `status`."""

from typing import Any

import msgspec

from cortex.dialects.model_card import ModelCard
from cortex.fleet.catalogue import Catalogue, Model, known_models
from cortex.fleet.placement import feasible
from cortex.fleet.state import MIB, Device, Fleet, Host, Reach
from cortex.gateway.dispatch import loading_state
from cortex.protocol import ModelEntry
from cortex.types import ModelState

__all__ = ["fleet_line", "fleet_view", "health_view", "model_card", "model_cards"]


def model_cards(catalogue: Catalogue, fleet: Fleet, created: int) -> list[ModelCard]:
    """The entries of `/v1/models`, in a stable order: catalogue, the hosts' own, aliases."""
    return [model_card(name, model, fleet, created) for name, model in known_models(catalogue, fleet).items()]


def model_card(name: str, model: Model, fleet: Fleet, created: int) -> ModelCard:
    """One entry; `name` may be an alias of the model."""
    profile = model.profile
    entries = [
        (host, host.models[model.id])
        for host in fleet.hosts.values()
        if model.id in host.models and host.reach is Reach.UP
    ]
    loaded = [entry for _, entry in entries if entry.status is ModelState.LOADED]
    windows = [entry.context_length for entry in loaded if entry.context_length]
    window = min(windows, default=profile.limit.context)
    capabilities = profile.capabilities or tuple(sorted({word for entry in loaded for word in entry.capabilities}))
    limit = {"context": window, "input": profile.limit.input, "output": profile.limit.output}
    extra: dict[str, Any] = {
        "loaded": bool(loaded),
        "feasible_on": [host.name for host in fleet.hosts.values() if _could(fleet, model, host)],
        "locations": [_location(host, entry, model) for host, entry in entries],
        "capabilities": list(capabilities),
        "limit": {key: value for key, value in limit.items() if value is not None},
    }
    if profile.cost is not None:
        prices = msgspec.to_builtins(profile.cost)
        extra["cost"] = {key: value for key, value in prices.items() if value is not None}
    if name != model.id:
        extra["alias_of"] = model.id
    return ModelCard(
        id=name, created=created, context_length=window, max_output_tokens=profile.limit.output, extra=extra
    )


def _could(fleet: Fleet, model: Model, host: Host) -> bool:
    if host.has(model.id, ModelState.LOADED):
        return True
    return model.listed and bool(host.devices) and feasible(fleet, model.profile, host)


def _location(host: Host, entry: ModelEntry, model: Model) -> dict[str, Any]:
    size = entry.vram_used_mb or (entry.bytes // MIB if entry.bytes else None) or model.profile.vram_mb
    return {"node": host.name, "status": entry.status.value, "vram_estimate_mb": size}


def health_view(fleet: Fleet) -> dict[str, Any]:
    """`/health`: ok when every host serves, else degraded; always 200, since the gateway itself lives."""
    healthy = sum(host.serving for host in fleet.hosts.values())
    total = len(fleet.hosts)
    unservable = [
        {"node": host.name, "model": entry.id, "reason": entry.error_code or "load_failed", "detail": entry.error}
        for host in fleet.hosts.values()
        for entry in host.models.values()
        if entry.status is ModelState.FAILED
    ]
    status = "ok" if total and healthy == total else "degraded"
    return {"status": status, "nodes": {"healthy": healthy, "total": total}, "unservable": unservable}


def fleet_line(fleet: Fleet, *, in_flight: int) -> str:
    """The fleet in one line, for the service manager."""
    up = [host for host in fleet.hosts.values() if host.serving]
    loaded = {entry.id for host in up for entry in host.models.values() if entry.status is ModelState.LOADED}
    words = [f"{len(up)} of {len(fleet.hosts)} hosts up", f"{len(loaded)} models loaded"]
    words += [f"loading {job.model} on {job.host}" for job in fleet.jobs.values()]
    return ", ".join([*words, f"{in_flight} requests running"])


def fleet_view(catalogue: Catalogue, fleet: Fleet) -> dict[str, Any]:
    """`/api/fleet`: hosts with devices and models, and what the catalogue has; bytes everywhere."""
    return {
        "hosts": [_host(host) for host in fleet.hosts.values()],
        "models": [
            {
                "id": name,
                "alias_of": model.id if name != model.id else None,
                "listed": model.listed,
                "pinned_on": sorted({*model.profile.pinned_on, *(host for id_, host in fleet.pins if id_ == model.id)}),
                "loaded_on": [
                    host.name
                    for host in fleet.hosts.values()
                    if host.reach is Reach.UP and host.has(model.id, ModelState.LOADED)
                ],
                "loading": loading_state(fleet, model.id),
                "bytes": fleet.sizes.get(model.id),
            }
            for name, model in known_models(catalogue, fleet).items()
        ],
        "loads": [
            {"model": job.model, "host": job.host, "since": job.since, "evict": list(job.evict)}
            for job in fleet.jobs.values()
        ],
        "failures": [
            {"host": host, "model": model, "code": failure.code, "message": failure.message, "until": failure.until}
            for (host, model), failure in sorted(fleet.failures.items())
        ],
    }


def _host(host: Host) -> dict[str, Any]:
    return {
        "name": host.name,
        "kind": host.kind,
        "endpoint": host.endpoint,
        "health": host.reach.value if host.reach is not Reach.UP or host.status == "ok" else host.status,
        "duty": host.duty,
        "held_until": host.held_until or None,
        "version": host.version,
        "devices": [_device(device) for device in host.devices],
        "models": [_model(host, entry) for _, entry in sorted(host.models.items())],
    }


def _device(device: Device) -> dict[str, Any]:
    used = None if device.free_bytes is None else max(device.total_bytes - device.free_bytes, 0)
    return {**msgspec.to_builtins(device), "used_bytes": used}


def _model(host: Host, entry: ModelEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "status": entry.status.value,
        "devices": list(entry.devices),
        "bytes": entry.bytes,
        "quant": entry.quant,
        "in_flight": host.busy(entry.id),
        "live": None if (figures := host.live.get(entry.id)) is None else msgspec.to_builtins(figures),
        "last_used": host.last_use(entry.id) or None,
        "context_length": entry.context_length,
        "progress": None if entry.progress is None else msgspec.to_builtins(entry.progress),
        "error": entry.error,
    }
