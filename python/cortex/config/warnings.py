"""Warnings: what an operator should know about a configuration that works: who is let in without a key."""

import ipaddress
import re
from collections.abc import Sequence

from cortex.config.gateway import GatewayConfig, split_address
from cortex.config.neuron import NeuronConfig

__all__ = ["gateway_warnings", "neuron_warnings"]


def gateway_warnings(config: GatewayConfig, *, keys: int, tokens: Sequence[str]) -> list[str]:
    """For a gateway with so many keys and these tokens."""
    found = []
    reach = _is_local(split_address(config.gateway.listen)[0])
    if config.auth is None and not reach:
        found.append(
            "no [auth] in cortex.toml: everyone on this machine and in private networks is answered without a key; "
            "run `cortex keys add NAME` and write [auth]"
        )
    if config.auth is not None and config.auth.mode == "open":
        found.append('auth.mode = "open": everyone who can reach this gateway is answered without a key')
    if config.auth is not None and config.auth.mode == "keys" and not keys:
        found.append(f"no keys in {config.auth.keys_file}: nobody is answered; make one with `cortex keys add NAME`")
    far = [peer.name for peer in config.neurons if peer.kind == "neuron" and not _is_local(_host(peer.endpoint))]
    if far and not tokens:
        found.append(
            f"no token is shared with {', '.join(far[:5])}: everyone who can reach these hosts may load and use "
            "models there; make one with `cortex keys token` and write auth.token_file here and there"
        )
    return found


def neuron_warnings(config: NeuronConfig, *, tokens: Sequence[str]) -> list[str]:
    """For a host daemon with these tokens."""
    if tokens or _is_local(config.host):
        return []
    if config.auth is not None and config.auth.mode == "open":
        return ['auth.mode = "open": everyone who can reach this host may load, unload and use models']
    return [
        "no token: everyone on this machine and in private networks may load, unload and use models here; make one "
        "with `cortex keys token` and write auth.token_file here and at the gateway"
    ]


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host(endpoint: str) -> str:
    found = re.match(r"https?://(\[[^\]]+\]|[^:/]+)", endpoint)
    return found[1].strip("[]") if found else endpoint
