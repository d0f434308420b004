"""Near: which peers count as this machine's own network."""

import ipaddress

__all__ = ["is_near"]

_SHARED = ipaddress.ip_network("100.64.0.0/10")  # carrier and overlay networks; `is_private` leaves them out


def is_near(address: str | None) -> bool:
    """Whether a peer's address is loopback, link-local, private, or of a shared overlay network."""
    try:
        peer = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return False
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
        peer = peer.ipv4_mapped
    return peer.is_loopback or peer.is_private or peer.is_link_local or (peer.version == 4 and peer in _SHARED)
