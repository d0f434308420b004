"""Peers: what the hosts of the configuration are to the fleet, and what each of them is sent to be let in."""

from collections.abc import Sequence

from cortex.config import GatewayConfig, NeuronPeer
from cortex.config.source import GatewayFiles
from cortex.fleet.state import Host

__all__ = ["credentials", "hosts", "strangers"]


def credentials(files: GatewayFiles) -> dict[str, dict[str, str]]:
    """The token for each host of ours, and the key for each other server, by origin: they go nowhere else."""
    keys = {peer.origin: _secret(peer, files.tokens) for peer in files.config.neurons}
    return {origin: {"authorization": f"Bearer {key}"} for origin, key in keys.items() if key}


def _secret(peer: NeuronPeer, tokens: Sequence[str]) -> str | None:
    if peer.kind == "openai":
        return peer.api_key
    return tokens[0] if tokens else None


def hosts(config: GatewayConfig) -> list[Host]:
    """The hosts of a configuration, as the fleet begins with them."""
    return [
        Host(
            name=peer.name,
            endpoint=peer.base,
            kind=peer.kind,
            only=tuple(peer.models),
            responses=peer.responses,
        )
        for peer in config.neurons
    ]


def strangers(config: GatewayConfig) -> frozenset[str]:
    """The origins of the servers that are not ours."""
    return frozenset(peer.origin for peer in config.neurons if peer.kind == "openai")
