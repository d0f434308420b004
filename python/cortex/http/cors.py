"""CORS: which web pages a browser lets read our answers. It lets nobody ask who may not: keys are looked at as ever.

We set no cookies, so answers never allow credentials; a page sends its key as a header. Rules: Fetch standard, section
"CORS protocol" (fetch.spec.whatwg.org).
"""

import re
from collections.abc import Collection, Mapping

from cortex.http.message import Request, Response

__all__ = ["Cors"]

ANY = "*"
_METHODS = "GET, POST, DELETE"
_EXPOSED = "x-request-id, request-id, retry-after, x-cortex-ignored, x-cortex-neuron, x-cortex-estimate"
_HEADER_NAMES = re.compile(r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+(\s*,\s*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*$")
_LONGEST = 4096


class Cors:
    """`origins` may read; `*` among them are all pages. `private` are paths that no page is let near."""

    def __init__(self, origins: Collection[str] = (), *, max_age_seconds: int = 600, private: str = "") -> None:
        self._private = private
        self.configure(origins, max_age_seconds)

    def configure(self, origins: Collection[str], max_age_seconds: int) -> None:
        """Take other rules."""
        self._origins = frozenset(origin.lower() for origin in origins)
        self._max_age = max_age_seconds

    async def preflight(self, request: Request) -> Response | None:
        """The hook that answers a browser's question whether a page may ask, before any key is looked at, since none is
        sent with it. A page that is not listed is answered like everybody."""
        asked = "access-control-request-method" in request.headers
        if request.method != "OPTIONS" or not asked or not self._grants(request.path, request.headers):
            return None
        headers = {"access-control-allow-methods": _METHODS, "access-control-max-age": str(self._max_age)}
        names = request.headers.get("access-control-request-headers", "").strip()
        if len(names) <= _LONGEST and _HEADER_NAMES.match(names):
            headers["access-control-allow-headers"] = names
        listed = request.headers["origin"].lower() in self._origins
        if listed and request.headers.get("access-control-request-private-network") == "true":
            headers["access-control-allow-private-network"] = "true"
        return Response(headers=headers, media_type="text/plain")

    def headers(self, path: str, asked: Mapping[str, str]) -> list[tuple[str, str]]:
        """What each answer says besides, whatever its status."""
        if not self._origins:
            return []
        granted = self._grants(path, asked)
        if ANY in self._origins:
            found = [("access-control-allow-origin", ANY)] if granted else []
        else:
            found = [("access-control-allow-origin", asked["origin"])] if granted else []
            found.append(("vary", "origin"))
        return [*found, ("access-control-expose-headers", _EXPOSED)] if granted else found

    def _grants(self, path: str, asked: Mapping[str, str]) -> bool:
        origin = asked.get("origin")
        if origin is None or (self._private and path.startswith(self._private)):
            return False
        return ANY in self._origins or origin.lower() in self._origins
