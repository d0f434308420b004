"""Asks all hosts of a configuration at once what they are and have, without a gateway; for `cortex check`."""

import ssl
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cortex.config import NeuronPeer, NeuronTlsConfig
from cortex.config.handwork import Handwork, read_handwork
from cortex.config.source import GatewayFiles
from cortex.errors import CortexError, UpstreamMalformed
from cortex.fleet.membership import handwork_restored, hosts_listed
from cortex.fleet.served import ServedList, served
from cortex.fleet.state import Duty, Fleet, Host
from cortex.fleet.transitions import discovered, health_seen, missed, models_seen
from cortex.ops.api import Api
from cortex.protocol import Discovery, Health, ModelEntry

__all__ = ["fleet_now"]

T = TypeVar("T")
_SECONDS = 5.0
_AT_ONCE = 32
_Change = Callable[[Fleet], Fleet]


def fleet_now(files: GatewayFiles) -> tuple[Fleet, dict[str, str]]:
    """The fleet as it is now, with what was done to it by hand, and why some of its hosts did not answer."""
    peers = files.config.neurons
    listed = [Host(name=peer.name, endpoint=peer.base, kind=peer.kind, only=peer.models) for peer in peers]
    fleet = hosts_listed(Fleet(), listed)
    token, tls = files.tokens[0] if files.tokens else "", _tls(files.config.neuron_tls)
    with ThreadPoolExecutor(max(1, min(_AT_ONCE, len(peers))), thread_name_prefix="check") as pool:
        found = list(pool.map(partial(_told, token=token, tls=tls), peers))
    troubles: dict[str, str] = {}
    for peer, told in zip(peers, found, strict=True):
        if isinstance(told, CortexError):
            troubles[peer.name] = told.message
            fleet = missed(fleet, peer.name, now=time.time())
        else:
            fleet = told(fleet)
    return _with_handwork(fleet, files), troubles


def _with_handwork(fleet: Fleet, files: GatewayFiles) -> Fleet:
    path = files.config.gateway.state_file
    work = Handwork() if path is None else read_handwork(Path(path))
    duties = {host: Duty(duty) for host, duty in work.duties.items()}
    return handwork_restored(fleet, [(pin.model, pin.host) for pin in work.pins], duties)


def _tls(section: NeuronTlsConfig | None) -> ssl.SSLContext | None:
    if section is None:
        return None
    from cortex.http import client_context

    return client_context(ca=section.ca, cert=section.cert, key=section.key)


def _told(peer: NeuronPeer, *, token: str, tls: ssl.SSLContext | None) -> _Change | CortexError:
    """How the host's answers change the fleet, or why it gave none."""
    try:
        if peer.kind == "openai":
            return _server(peer, Api(peer.base, token=peer.api_key or "", tls=tls))
        return _neuron(peer.name, Api(peer.base, token=token, tls=tls))
    except CortexError as error:
        return error


def _neuron(name: str, api: Api) -> _Change:
    found = _as(Discovery, api.get("/discovery", seconds=_SECONDS))
    entries = _as(tuple[ModelEntry, ...], api.get("/models", seconds=_SECONDS))
    health = _as(Health, api.get("/health", seconds=_SECONDS))
    return lambda fleet: health_seen(models_seen(discovered(fleet, name, found), name, entries), name, health)


def _server(peer: NeuronPeer, api: Api) -> _Change:
    entries: Sequence[ModelEntry] = served(_as(ServedList, api.get("/v1/models", seconds=_SECONDS)), peer.models)
    return lambda fleet: models_seen(fleet, peer.name, tuple(entries))


def _as(kind: type[T], told: Any) -> T:
    try:
        return msgspec.convert(told, kind)
    except msgspec.ValidationError as error:
        raise UpstreamMalformed(f"its answer is not in the protocol: {error}") from error
