"""Near: which peers are this machine, and which count as its own network."""

import ipaddress

__all__ = ["Address", "is_loopback", "is_near", "parse_address"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_SHARED = ipaddress.ip_network("100.64.0.0/10")  # carrier and overlay networks; `is_private` leaves them out


def parse_address(text: str | None) -> Address | None:
    """The address, None for what is none; without a zone, and IPv4 as such also where IPv6 carries it."""
    try:
        found = ipaddress.ip_address((text or "").partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def is_loopback(address: str | None) -> bool:
    """Whether a peer is on this machine."""
    peer = parse_address(address)
    return peer is not None and peer.is_loopback


def is_near(address: str | None) -> bool:
    """Whether a peer's address is loopback, link-local, private, or of a shared overlay network."""
    peer = parse_address(address)
    if peer is None:
        return False
    return peer.is_loopback or peer.is_private or peer.is_link_local or (peer.version == 4 and peer in _SHARED)
