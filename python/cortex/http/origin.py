"""Origin: whether a request comes from a program or a page that may ask, judged by Host, Origin and forwarding headers.

A page in somebody's browser can reach what that machine can reach: by a plain cross-site request, or by a name of its
own that it lets point here (DNS rebinding). A name that nobody can register for that, or an address, is no such name.
"""

import ipaddress
import re
from collections.abc import Collection, Mapping, Sequence

from cortex.http.near import is_loopback, is_near, parse_address

__all__ = ["Network", "browser_trouble", "client_address", "networks"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_FORWARDED = ("x-forwarded-for", "forwarded", "x-real-ip")
_PRIVATE_SUFFIXES = (".localhost", ".local", ".lan", ".internal", ".home.arpa")
_SAFE_SITES = ("none", "same-origin")


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks of addresses or CIDR texts; raises ValueError naming the one that is none."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def client_address(peer: str | None, headers: Mapping[str, str], proxies: Sequence[Network]) -> tuple[str | None, bool]:
    """Whose request it is, and whether it was passed on by somebody who is not trusted to say for whom.

    1. Only a listed proxy is believed: the last address that is none of the proxies is the client. 2. From anyone else
    the header can only take rights away: a far address in it counts.
    """
    told = [part.strip() for part in headers.get("x-forwarded-for", "").split(",") if part.strip()]
    if peer is not None and _among(peer, proxies):  # 1.
        return next((one for one in reversed(told) if not _among(one, proxies)), peer), False
    passed_on = any(name in headers for name in _FORWARDED)  # 2.
    return next((one for one in told if not is_near(one)), peer), passed_on


def browser_trouble(
    headers: Mapping[str, str], *, hosts: Collection[str], origins: Collection[str], hostname: str
) -> str | None:
    """Why a request without a key is refused as a web page's, or None. `hosts` and `origins` are allowed besides."""
    name = _host_of(headers.get("host", ""))
    if not (_is_safe_name(name, hostname) or name in hosts):
        return f"The name {name[:100]!r} is not known here; list it as auth.allowed_hosts if it is this gateway's."
    origin = headers.get("origin")
    if origin is not None:
        if origin in origins or _may_ask(origin, headers.get("host", "")):
            return None
        return f"Pages of {origin[:100]} may not ask here; list it as auth.allowed_origins if they may."
    if headers.get("sec-fetch-site", "none") not in _SAFE_SITES:
        return "Pages of other sites may not ask here."
    return None


def _among(address: str, networks: Sequence[Network]) -> bool:
    found = parse_address(address)
    return found is not None and any(found.version == one.version and found in one for one in networks)


def _may_ask(origin: str, host: str) -> bool:
    """Pages that came from here, from a program on the reader's own machine, or that are no web pages at all."""
    scheme, _, rest = origin.partition("://")
    if rest and scheme not in ("http", "https"):
        return True
    name = _host_of(rest)
    return rest == host or name == "localhost" or is_loopback(name)


def _host_of(header: str) -> str:
    """The name in a Host header, lower case, without port and brackets."""
    found = re.match(r"^(\[[^\]]*\]|[^:]*)", header.lower())
    return found[1].strip("[]").rstrip(".") if found else ""


def _is_safe_name(name: str, hostname: str) -> bool:
    """Whether nobody elsewhere can have registered it: an address, a name without a dot, this machine's own name, a
    name of private use. HTTP/1.0 has none."""
    if "." not in name or name == hostname.lower() or name.endswith(_PRIVATE_SUFFIXES):
        return True
    return parse_address(name) is not None
