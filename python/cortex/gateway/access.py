"""Access: who may talk to a gateway that has no keys yet: this machine and private networks."""

import ipaddress

from cortex.errors import Unauthorized
from cortex.http import Request, Response

__all__ = ["is_near", "private_only"]

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


async def private_only(request: Request) -> Response | None:
    """A hook for every request; raises Unauthorized for a peer from elsewhere."""
    if not is_near(request.client):
        raise Unauthorized("This gateway answers private networks only; put a proxy with access control before it.")
    return None
