"""Access: who may talk to a gateway that has no keys yet: this machine and private networks."""

from cortex.errors import Unauthorized
from cortex.http import Request, Response, is_near

__all__ = ["private_only"]


async def private_only(request: Request) -> Response | None:
    """A hook for every request; raises Unauthorized for a peer from elsewhere."""
    if not is_near(request.client):
        raise Unauthorized("This gateway answers private networks only; put a proxy with access control before it.")
    return None
