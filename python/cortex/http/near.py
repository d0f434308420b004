"""Near: which peers are this machine, and which count as its own network. A few peers ask again and again: what was
found of an address is kept."""

import ipaddress
from functools import lru_cache

__all__ = ["Address", "is_loopback", "is_near", "parse_address"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_LONGEST = 100  # characters; with a zone
_SHARED = ipaddress.ip_network("100.64.0.0/10")  # carrier and overlay networks; `is_private` leaves them out


def parse_address(text: str | None) -> Address | None:
    """The address, None for what is none; without a zone, and IPv4 as such also where IPv6 carries it."""
    return None if text is None or len(text) > _LONGEST else _parsed(text)


def is_loopback(address: str | None) -> bool:
    """Whether a peer is on this machine."""
    return address is not None and len(address) <= _LONGEST and _judged(address)[0]


def is_near(address: str | None) -> bool:
    """Whether a peer's address is loopback, link-local, private, or of a shared overlay network."""
    return address is not None and len(address) <= _LONGEST and _judged(address)[1]


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Address | None:
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


@lru_cache(maxsize=1024)
def _judged(text: str) -> tuple[bool, bool]:
    """Whether it is loopback, and whether it is near."""
    peer = _parsed(text)
    if peer is None:
        return False, False
    shared = peer.version == 4 and peer in _SHARED
    return peer.is_loopback, peer.is_loopback or peer.is_private or peer.is_link_local or shared
