"""cortex.toml: where the gateway listens, its neurons, its eviction strategy."""

import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from cortex.config.auth import AuthConfig, CorsConfig, NeuronTlsConfig, TlsConfig, anchored
from cortex.config.loader import Loaded, load
from cortex.config.peers import NeuronPeer, checked_peers
from cortex.errors import ConfigError

__all__ = [
    "AdmissionSection",
    "EvictionConfig",
    "GatewayConfig",
    "GatewaySection",
    "NeuronPeer",
    "ResponsesConfig",
    "UsageSection",
    "catalogue_path",
    "load_gateway",
    "split_address",
]

DEFAULT_PATH = Path("/etc/cortex/cortex.toml")
DEFAULT_CATALOGUE = Path("/etc/cortex/models.toml")
_PORT = r"0*(6553[0-5]|655[0-2]\d|65[0-4]\d{2}|6[0-4]\d{3}|[1-5]\d{4}|\d{1,4})"
Address = Annotated[
    str, msgspec.Meta(pattern=rf"^(\[[0-9a-fA-F:.]+\]|[^:\s\[\]]+):{_PORT}$", examples=["127.0.0.1:31313"])
]
Positive = Annotated[float, msgspec.Meta(gt=0)]


class GatewaySection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[gateway]`. Addresses are `host:port`; times are seconds. `state_file` keeps what operators do by hand."""

    listen: Address = "127.0.0.1:31313"
    metrics_listen: Address = "127.0.0.1:31314"
    max_body_bytes: Annotated[int, msgspec.Meta(gt=0)] = 64 * 1024 * 1024
    load_wait_secs: Positive = 600.0
    idle_timeout_secs: Positive = 600.0
    keep_alive_secs: Positive = 5.0
    poll_secs: Positive = 5.0
    drain_secs: Positive = 30.0
    state_file: str | None = None
    tls: TlsConfig | None = None
    metrics_tls: TlsConfig | None = None


class EvictionConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[eviction]`. `defrag_after_cycles` = loads per host before its process begins anew (0 = never), `idle_ttl_secs`
    = how long an unused model stays (0 = for ever)."""

    strategy: Literal["lru", "priority"] = "lru"
    defrag_after_cycles: Annotated[int, msgspec.Meta(ge=0)] = 0
    min_residency_secs: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    idle_ttl_secs: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class ResponsesConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[responses]`: whether answers of `/v1/responses` are kept, so that clients may go on from them by id.

    Without a `path` they are kept in memory."""

    store: bool = False
    path: str | None = None
    max_entries: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    max_bytes: Annotated[int, msgspec.Meta(ge=1)] = 1024 * 1024 * 1024
    ttl_secs: Positive = 30 * 24 * 3600.0


class AdmissionSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[admission]`: requests that wait at the gateway for a model, in all and for each key; how long for a place at a
    loaded one; how many must wait before it gets another copy where memory is free (0 = never)."""

    max_queue_depth: Annotated[int, msgspec.Meta(gt=0)] = 1024
    max_queue_per_key: Annotated[int, msgspec.Meta(gt=0)] = 256
    max_wait_secs: Positive = 120.0
    replicate_after: Annotated[int, msgspec.Meta(ge=0)] = 8


class UsageSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[usage]`. `ledger` is a file that gets a JSON line for each request that begins and ends; None = no ledger."""

    ledger: str | None = None


class GatewayConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of cortex.toml; relative file names stand beside the file."""

    gateway: GatewaySection = GatewaySection()
    eviction: EvictionConfig = EvictionConfig()
    admission: AdmissionSection = AdmissionSection()
    responses: ResponsesConfig = ResponsesConfig()
    neurons: tuple[NeuronPeer, ...] = ()
    usage: UsageSection = UsageSection()
    cors: CorsConfig = CorsConfig()
    auth: AuthConfig | None = None
    neuron_tls: NeuronTlsConfig | None = None
    models_config: str | None = None


REFUSED = {
    "nodes": "rename [[nodes]] to [[neurons]] (name, endpoint; endpoints are http://HOST:13131)",
    "entitlements": "API keys are kept hashed now: remove it, write [auth], make keys with `cortex keys add`",
    "upstream": "the original's account service is not supported; remove the section",
}


def load_gateway(path: Path | None, environ: Mapping[str, str]) -> Loaded[GatewayConfig]:
    """Read cortex.toml (`path`, else the default place if it is there) and `CORTEX_` overrides; raises ConfigError."""
    loaded = load(GatewayConfig, path, default_path=DEFAULT_PATH, prefix="CORTEX_", environ=environ, refused=REFUSED)
    peers = checked_peers(loaded.config.neurons, environ, loaded.origin)
    config = msgspec.structs.replace(loaded.config, neurons=peers)
    if config.auth is not None:
        _check_proxies(config.auth.trusted_proxies, loaded.origin)
    return Loaded(_anchored(config, _folder(loaded)), loaded.path, loaded.warnings)


def catalogue_path(loaded: Loaded[GatewayConfig]) -> Path | None:
    """Where models.toml is: as written (relative to cortex.toml), beside it, at the packaged place, or None."""
    if loaded.config.models_config is not None:
        return _folder(loaded) / loaded.config.models_config
    beside = loaded.path.parent / "models.toml" if loaded.path else None
    return next((path for path in (beside, DEFAULT_CATALOGUE) if path is not None and path.is_file()), None)


def split_address(address: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port` as a pair; raises ConfigError for a port out of range."""
    host, _, port = address.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"{address}: the port must be 0 to 65535")
    return host.strip("[]"), int(port)


def _check_proxies(networks: Sequence[str], origin: str) -> None:
    for text in networks:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError as error:
            raise ConfigError(
                f"{origin}: auth.trusted_proxies: {text!r} is no address and no network like 10.0.0.0/8"
            ) from error


def _folder(loaded: Loaded[GatewayConfig]) -> Path:
    return loaded.path.parent if loaded.path else Path.cwd()


def _anchored(config: GatewayConfig, folder: Path) -> GatewayConfig:
    section = anchored(config.gateway, folder)
    tls = {name: found for name in ("tls", "metrics_tls") if (found := getattr(section, name)) is not None}
    section = msgspec.structs.replace(section, **{name: anchored(found, folder) for name, found in tls.items()})
    return msgspec.structs.replace(
        config,
        gateway=section,
        usage=anchored(config.usage, folder),
        responses=anchored(config.responses, folder),
        auth=None if config.auth is None else anchored(config.auth, folder),
        neuron_tls=None if config.neuron_tls is None else anchored(config.neuron_tls, folder),
    )
