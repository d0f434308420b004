"""Tenancy: whose prompts may share cached beginnings. The gateway sends a salt along; without one all share with all.

How fast a prompt is read tells whether somebody sent its beginning before, so tenants that shall not learn that of each
other have salts of their own (compare CVE-2025-46570).
"""

import hashlib
from collections.abc import Mapping
from contextvars import ContextVar

__all__ = ["CACHE_SALT", "cache_salt", "take_salt"]

CACHE_SALT = "x-cortex-cache-salt"
_salt: ContextVar[int] = ContextVar("cache salt", default=0)


def take_salt(headers: Mapping[str, str]) -> None:
    """The request that runs here, in its task, has these headers."""
    text = headers.get(CACHE_SALT, "")
    _salt.set(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) if text else 0)


def cache_salt() -> int:
    """The salt of the request that runs here; 64 bits, 0 = none."""
    return _salt.get()
