"""Access: who asks, and whether they may: keys, private networks, web pages, and what only an admin may do.

The caller of a request is known to everything that runs in its task and in the tasks it starts: `caller()`.
"""

import hashlib
import socket
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import msgspec

from cortex.config import AuthConfig, KeyLimits
from cortex.config.keys import KeyRecord, Keyring
from cortex.errors import Forbidden, Unauthorized
from cortex.http import Request, Response, is_near, json_response
from cortex.http.near import is_loopback
from cortex.http.origin import browser_trouble, client_address, networks

__all__ = ["ADMIN_PATHS", "ANONYMOUS", "Access", "Caller", "caller"]

ADMIN_PATHS = "/api/admin/"
ANONYMOUS = "anonymous"
_PROBE = "/health"


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks. `label` is for logs and metrics; capacity is shared between `share`s: a key's (`keyed`), or an
    address's. `request_id` is the request's. Prompts share cached beginnings on the hosts within a `cache_salt`."""

    label: str = ANONYMOUS
    share: str = ""
    limits: KeyLimits = KeyLimits()
    admin: bool = False
    request_id: str = ""
    keyed: bool = False
    cache_salt: str = ""


_NOBODY = Caller()
_CALLER: ContextVar[Caller] = ContextVar("caller")


def caller() -> Caller:
    """Whose request is being answered here."""
    return _CALLER.get(_NOBODY)


class Access:
    """The hook before every request. `auth` None = a configuration that says nothing about it; `keys` and `auth` may
    be replaced while it runs. `look` has the files read if they were changed: a key works from when it is made."""

    def __init__(
        self, auth: AuthConfig | None, keys: Keyring, look: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._hostname = socket.gethostname()
        self._look = look
        self.configure(auth, keys)

    def configure(self, auth: AuthConfig | None, keys: Keyring) -> None:
        """Take other rules."""
        self.keys = keys
        self._mode = "near" if auth is None else auth.mode
        self._auth = auth or AuthConfig()
        self._proxies = networks(self._auth.trusted_proxies)

    async def admit(self, request: Request) -> Response | None:
        """1. A valid key may ask, from anywhere. 2. Where keys are asked for, the liveness probe tells everybody that
        this lives, and nothing else. 3. Without a valid key: nothing if keys are asked for, and no web page of another
        site. 4. Without `[auth]`: private networks only. 5. What changes the fleet needs an admin's key, or, where no
        keys are asked for, this machine.

        Raises Unauthorized or Forbidden."""
        address, passed_on = client_address(request.client, request.headers, self._proxies)
        text = _presented(request)
        record = await self._known(text)
        if record is not None:  # 1.
            found = self._of_key(record)
        elif self._mode == "keys" and request.path == _PROBE and request.method in ("GET", "HEAD"):  # 2.
            return json_response({"status": "ok"})
        else:
            self._check_anonymous(request, address, wrong=bool(text))  # 3. and 4.
            here = is_loopback(address) and not passed_on
            found = Caller(share=f"address {address}", limits=self._auth.limits, admin=here)
        if request.path.startswith(ADMIN_PATHS) and not found.admin:  # 5.
            raise Forbidden(_NO_ADMIN if record is None else _NO_ADMIN_KEY)
        _CALLER.set(msgspec.structs.replace(found, request_id=request.id))
        return None

    async def _known(self, text: str) -> KeyRecord | None:
        record = self.keys.find(text) if text else None
        if record is None and text and self._look is not None and self._mode == "keys":
            await self._look()
            record = self.keys.find(text)
        return record

    def _of_key(self, record: KeyRecord) -> Caller:
        own = record.limits
        limits = own if own != KeyLimits() else self._auth.limits
        salt = "" if self._auth.shared_cache else hashlib.sha256(f"cache of {record.id}".encode()).hexdigest()[:16]
        return Caller(
            label=record.label,
            share=f"key {record.id}",
            limits=limits,
            admin=record.admin,
            keyed=True,
            cache_salt=salt,
        )

    def _check_anonymous(self, request: Request, address: str | None, *, wrong: bool) -> None:
        if self._mode == "keys":
            raise Unauthorized(_WRONG if wrong else _MISSING)
        trouble = browser_trouble(
            request.headers,
            hosts=self._auth.allowed_hosts,
            origins=self._auth.allowed_origins,
            hostname=self._hostname,
        )
        if trouble is not None:
            raise Forbidden(trouble)
        if self._mode == "near" and not is_near(address):
            raise Unauthorized("This gateway answers private networks only: its configuration has no [auth] section.")


_MISSING = "No API key: send `Authorization: Bearer KEY` or `x-api-key: KEY`."
_WRONG = "The API key is not valid."
_NO_ADMIN = "Only a program on the gateway's own machine may change the fleet, or a key of `cortex keys add --admin`."
_NO_ADMIN_KEY = "This key may not change the fleet; make one with `cortex keys add NAME --admin`."


def _presented(request: Request) -> str:
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and text.strip():
        return text.strip()
    return request.headers.get("x-api-key", "").strip()
