"""Access: who may talk to a host daemon: this machine and private networks, and no web page.

A daemon takes orders from its gateway without a key, so a page in somebody's browser must not be able to give any.
"""

import ipaddress

from cortex.errors import Unauthorized
from cortex.http import Request, Response

__all__ = ["near_programs_only"]

_SHARED = ipaddress.ip_network("100.64.0.0/10")  # carrier and overlay networks; `is_private` leaves them out


def _is_near(address: str | None) -> bool:
    try:
        peer = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return False
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
        peer = peer.ipv4_mapped
    return peer.is_loopback or peer.is_private or peer.is_link_local or (peer.version == 4 and peer in _SHARED)


async def near_programs_only(request: Request) -> Response | None:
    """A hook for every request; raises Unauthorized for a peer from elsewhere, and for what a browser sends."""
    if not _is_near(request.client):
        raise Unauthorized("This host answers private networks only; clients ask its gateway.")
    if "origin" in request.headers or request.headers.get("sec-fetch-site", "none") != "none":
        raise Unauthorized("This host does not answer web pages; they ask the gateway.")
    return None
