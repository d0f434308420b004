"""`cortex check`: are the gateway's files right, and where could each model run on the hosts that there are?"""

import os
import ssl
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cortex.cli.output import human_bytes, print_json, print_line, say
from cortex.config import NeuronTlsConfig
from cortex.config.source import GatewayFiles, GatewaySource
from cortex.errors import CortexError, UpstreamMalformed
from cortex.fleet.catalogue import Model, catalogue_of
from cortex.fleet.eviction import Policy, policy_of
from cortex.fleet.explain import Fit, Verdict, explain
from cortex.fleet.membership import hosts_listed
from cortex.fleet.state import Fleet, Host
from cortex.fleet.transitions import discovered, health_seen, missed, models_seen
from cortex.ops.api import Api
from cortex.protocol import Discovery, Health, ModelEntry

__all__ = ["run_check", "sentence"]

T = TypeVar("T")
_SECONDS = 5.0


def run_check(config: Path | None, *, offline: bool, as_json: bool) -> None:
    """Ends with status 1 when a file is wrong, or a model can run nowhere. `offline` asks no host."""
    source = GatewaySource(config, os.environ)
    files, troubles = source.reread(GatewayFiles())
    errors = [error.message for error in troubles.values()]
    warnings = [*files.warnings, *_references(files)]
    fits: dict[str, list[Fit]] = {}
    if not offline and "cortex.toml" not in troubles:
        fleet = _discover(files)
        warnings += [
            f"{host.name} does not answer at {host.endpoint}" for host in fleet.hosts.values() if not host.epoch
        ]
        fits = _explained(files, fleet)
    homeless = [model for model, found in fits.items() if found and all(_hopeless(fit) for fit in found)]
    if as_json:
        print_json({"errors": errors, "warnings": warnings, "placement": msgspec.to_builtins(fits)})
    else:
        _show(files, errors, warnings, fits)
    if errors or homeless:
        raise SystemExit(1)


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


def _discover(files: GatewayFiles) -> Fleet:
    """The hosts that load models, as they are now, all asked at once."""
    token = files.tokens[0] if files.tokens else ""
    tls = _tls(files.config.neuron_tls)
    endpoints = {peer.name: peer.endpoint.rstrip("/") for peer in files.config.neurons if peer.kind == "neuron"}
    fleet = hosts_listed(Fleet(), [Host(name=name, endpoint=base) for name, base in endpoints.items()])
    with ThreadPoolExecutor(max(1, min(32, len(endpoints))), thread_name_prefix="check") as pool:
        found = dict(
            zip(
                endpoints, pool.map(lambda base: _ask(Api(base, token=token, tls=tls)), endpoints.values()), strict=True
            )
        )
    for name, told in found.items():
        if told is None:
            fleet = missed(fleet, name, now=time.time())
        else:
            fleet = health_seen(models_seen(discovered(fleet, name, told[0]), name, told[1]), name, told[2])
    return fleet


def _tls(section: NeuronTlsConfig | None) -> ssl.SSLContext | None:
    if section is None:
        return None
    from cortex.http import client_context

    return client_context(ca=section.ca, cert=section.cert, key=section.key)


def _ask(api: Api) -> tuple[Discovery, tuple[ModelEntry, ...], Health] | None:
    try:
        return (
            _as(Discovery, lambda: api.get("/discovery", seconds=_SECONDS)),
            _as(tuple[ModelEntry, ...], lambda: api.get("/models", seconds=_SECONDS)),
            _as(Health, lambda: api.get("/health", seconds=_SECONDS)),
        )
    except CortexError:
        return None


def _as(kind: type[T], ask: Callable[[], Any]) -> T:
    try:
        return msgspec.convert(ask(), kind)
    except msgspec.ValidationError as error:
        raise UpstreamMalformed(str(error)) from error


def _explained(files: GatewayFiles, fleet: Fleet) -> dict[str, list[Fit]]:
    policy: Policy = policy_of(catalogue_of(files.models), files.config.eviction)
    now = time.time()
    return {
        profile.id: explain(fleet, Model(profile=profile, listed=True), policy, now=now)
        for profile in files.models.models
    }
