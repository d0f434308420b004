"""Access: who may talk to a host daemon: whoever has the token that it shares with its gateway.

Without a token only this machine and private networks may, and no web page: a page in somebody's browser must not be
able to give orders.
"""

import hmac
from collections.abc import Mapping

from cortex.config import NeuronAuthConfig
from cortex.config.secrets import TOKEN_VARIABLE, read_tokens
from cortex.errors import ConfigError, Unauthorized
from cortex.http import Request, Response, is_near, json_response

__all__ = ["Access"]

_PROBE = "/health"


class Access:
    """The hook before every request."""

    def __init__(self, auth: NeuronAuthConfig | None, environ: Mapping[str, str]) -> None:
        """Raises ConfigError for a token that cannot be used or is asked for and not there."""
        self._tokens = tuple(
            token.encode() for token in read_tokens(None if auth is None else auth.token_file, environ)
        )
        self._open = auth is not None and auth.mode == "open"
        if auth is not None and not self._open and not self._tokens:
            raise ConfigError(f'auth.mode is "token": write auth.token_file, or set {TOKEN_VARIABLE}')

    async def admit(self, request: Request) -> Response | None:
        """1. The token opens everything. 2. Where it is asked for, the liveness probe tells everybody that this lives.
        3. Else it is `open`, or private networks only and no pages. Raises Unauthorized."""
        if self._open:
            return None
        if self._tokens:
            if self._presented(request):  # 1.
                return None
            if request.path == _PROBE and request.method in ("GET", "HEAD"):  # 2.
                return json_response({"status": "ok"})
            raise Unauthorized("This host answers its gateway only; clients ask the gateway.")
        if not is_near(request.client):  # 3.
            raise Unauthorized("This host answers private networks only; clients ask its gateway.")
        if "origin" in request.headers or request.headers.get("sec-fetch-site", "none") != "none":
            raise Unauthorized("This host does not answer web pages; they ask the gateway.")
        return None

    def _presented(self, request: Request) -> bool:
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        given = text.strip().encode("utf-8", "surrogatepass")
        found = [hmac.compare_digest(given, token) for token in self._tokens]
        return scheme.lower() == "bearer" and any(found)
