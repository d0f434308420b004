"""`cortex check`: are the gateway's files right, and where could each model run on the hosts that there are?"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from cortex.cli.asking import fleet_now
from cortex.cli.output import human_bytes, print_json, print_line, say
from cortex.config.source import GatewayFiles, GatewaySource
from cortex.errors import ConfigError
from cortex.fleet.catalogue import Model, catalogue_of
from cortex.fleet.eviction import Policy, policy_of
from cortex.fleet.explain import Fit, Verdict, explain
from cortex.fleet.state import Duty, Fleet, Host, Reach

__all__ = ["run_check", "sentence"]


def run_check(config: Path | None, *, offline: bool, as_json: bool) -> None:
    """Ends with status 1 when a file is wrong, or a model can run nowhere. `offline` asks no host."""
    source = GatewaySource(config, os.environ)
    files, troubles = source.reread(GatewayFiles())
    errors = [error.message for error in troubles.values()]
    warnings = [*files.warnings, *_references(files)]
    fleet = Fleet()
    if not offline and "cortex.toml" not in troubles:
        try:
            fleet, silent = fleet_now(files)
            warnings += _remarks(fleet, silent)
        except ConfigError as error:
            errors.append(error.message)
    fits = _explained(files, fleet) if fleet.hosts else {}
    homeless = [model for model, found in fits.items() if found and all(_hopeless(fit) for fit in found)]
    if as_json:
        told = {"errors": errors, "warnings": warnings, "placement": msgspec.to_builtins(fits)}
        print_json({**told, "servers": [_server(host) for host in _servers(fleet)]})
    else:
        _show(files, errors, warnings, fits)
        for host in _servers(fleet):
            _show_server(host)
    if errors or homeless:
        raise SystemExit(1)


def _remarks(fleet: Fleet, silent: Mapping[str, str]) -> Iterator[str]:
    """Hosts that gave no answer, and what operators did by hand."""
    for name, why in silent.items():
        yield f"{name} does not answer at {fleet.hosts[name].endpoint}: {why}"
    for host in fleet.hosts.values():
        if host.duty is not Duty.ACTIVE:
            yield f"{host.name} is {host.duty} by hand; `cortex uncordon {host.name}` ends that"
    for model, name in sorted(fleet.pins):
        yield f"{model} is pinned on {name} by hand; `cortex unpin {model} {name}` ends that"


def _servers(fleet: Fleet) -> list[Host]:
    """Those that are not ours."""
    return [host for host in fleet.hosts.values() if not host.ours]


def _server(host: Host) -> dict[str, Any]:
    models = [{"id": entry.id, "context_length": entry.context_length} for entry in host.models.values()]
    up = host.reach is Reach.UP
    return {"host": host.name, "endpoint": host.endpoint, "reachable": up, "models": models, "lifecycle": False}


def _show_server(host: Host) -> None:
    print_line(f"{host.name}: a server that is not ours, at {host.endpoint}; no lifecycle: nothing is loaded there")
    if host.reach is not Reach.UP:
        print_line("  does not answer")
    elif not host.models:
        print_line("  serves no model" + (f" of {', '.join(host.only)}" if host.only else ""))
    for entry in host.models.values():
        window = f", context {entry.context_length}" if entry.context_length else ""
        print_line(f"  serves {entry.id}{window}")


def _hopeless(fit: Fit) -> bool:
    return not fit.verdict.possible and fit.verdict is not Verdict.AWAY


def sentence(fit: Fit) -> str:
    """One line about one host: `fits on beast: 19.2 GB of 24.0 GB`."""
    needs = "an unknown size" if fit.needed is None else human_bytes(fit.needed)
    each = f" on each of {fit.devices} devices" if fit.devices > 1 else ""
    total, free = human_bytes(fit.total or 0), human_bytes(max(fit.free or 0, 0))
    return {
        Verdict.LOADED: f"loaded on {fit.host}",
        Verdict.FITS: f"fits on {fit.host}: {needs}{each} of {total}",
        Verdict.AFTER_EVICTION: f"fits on {fit.host} once {', '.join(fit.evict)} left: {needs}{each} of {total}",
        Verdict.ONCE_IDLE: f"fits on {fit.host} once models there are idle: needs {needs}{each}, has {free} free",
        Verdict.FULL: f"not now on {fit.host}: needs {needs}{each}, has {free} free; the rest may not be evicted",
        Verdict.AWAY: f"not known of {fit.host}: it is {fit.detail}",
        Verdict.PINNED_ELSEWHERE: f"not on {fit.host}: pinned on {fit.detail}",
        Verdict.FEW_DEVICES: f"not on {fit.host}: needs {fit.devices} devices, has {fit.detail}",
        Verdict.SMALL_DEVICES: f"not on {fit.host}: needs devices of {needs}, the largest has {total}",
        Verdict.NO_LOADS: f"not on {fit.host}: it does not serve it, and nothing is loaded there",
        Verdict.NEVER: f"not on {fit.host}: needs {needs}{each}, has {total}",
    }[fit.verdict]


def _show(files: GatewayFiles, errors: Sequence[str], warnings: Sequence[str], fits: dict[str, list[Fit]]) -> None:
    for error in errors:
        say(f"error: {error}")
    for warning in warnings:
        say(f"warning: {warning}")
    hosts, models = len(files.config.neurons), len(files.models.models)
    if not errors:
        say(f"{files.path or 'built-in defaults'}: {hosts} hosts; {files.catalogue or 'no catalogue'}: {models} models")
    for model, found in fits.items():
        print_line(model)
        for fit in found:
            print_line(f"  {sentence(fit)}")


def _references(files: GatewayFiles) -> list[str]:
    """Names in the catalogue that lead nowhere."""
    models = {profile.id for profile in files.models.models}
    hosts = {peer.name for peer in files.config.neurons}
    lost = [
        f"alias {alias!r} stands for {target!r}, which models.toml does not list: it works only while a host has it"
        for alias, target in files.models.aliases.items()
        if target not in models
    ]
    pinned = [
        f"{profile.id} is pinned on {name}, which is no host of cortex.toml"
        for profile in files.models.models
        for name in profile.pinned_on
        if name not in hosts
    ]
    return lost + pinned


def _explained(files: GatewayFiles, fleet: Fleet) -> dict[str, list[Fit]]:
    policy: Policy = policy_of(catalogue_of(files.models), files.config.eviction)
    now = time.time()
    return {
        profile.id: explain(fleet, Model(profile=profile, listed=True), policy, now=now)
        for profile in files.models.models
    }
