"""Access: who may talk to a host daemon: this machine and private networks, and no web page.

A daemon takes orders from its gateway without a key, so a page in somebody's browser must not be able to give any.
"""

from cortex.errors import Unauthorized
from cortex.http import Request, Response, is_near

__all__ = ["near_programs_only"]


async def near_programs_only(request: Request) -> Response | None:
    """A hook for every request; raises Unauthorized for a peer from elsewhere, and for what a browser sends."""
    if not is_near(request.client):
        raise Unauthorized("This host answers private networks only; clients ask its gateway.")
    if "origin" in request.headers or request.headers.get("sec-fetch-site", "none") != "none":
        raise Unauthorized("This host does not answer web pages; they ask the gateway.")
    return None
