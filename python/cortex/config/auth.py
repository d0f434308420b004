"""[auth] and TLS: who may call the daemons, and how their wires are protected; files are named, secrets never."""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec

__all__ = ["AuthConfig", "CorsConfig", "KeyLimits", "NeuronAuthConfig", "NeuronTlsConfig", "TlsConfig", "anchored"]

Count = Annotated[int, msgspec.Meta(gt=0)]
Origin = Annotated[
    str, msgspec.Meta(pattern=r"^(\*|[a-zA-Z][a-zA-Z0-9+.-]*://[^/\s,*]+)$", examples=["https://chat.example.org"])
]
S = TypeVar("S", bound=msgspec.Struct)
_FILES = ("keys_file", "token_file", "cert", "key", "client_ca", "ca", "path", "ledger", "state_file")


class KeyLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one key may ask for; None = no limit. Tokens are those of prompts and answers together."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    concurrent: Count | None = None


class AuthConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[auth]` of the gateway. `keys` asks everyone for a key, `open` nobody; without the section only this machine
    and private networks are answered. `limits` hold for whoever has none of their own. `shared_cache`: the
    prompts of all keys share cached beginnings."""

    mode: Literal["keys", "open"] = "keys"
    keys_file: str = "keys.json"
    token_file: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    shared_cache: bool = False
    limits: KeyLimits = KeyLimits()


class CorsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[cors]`: web pages whose browsers may show them our answers: origins as browsers write them, or `*` for all.
    Pages still need a key, unless `auth.allowed_origins` lists them."""

    allowed_origins: tuple[Origin, ...] = ()
    max_age_secs: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 600


class NeuronAuthConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[auth]` of a host daemon. `token` asks for the secret it shares with its gateway, `open` for nothing."""

    mode: Literal["token", "open"] = "token"
    token_file: str | None = None


class TlsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A listener's certificate and key (PEM files). With `client_ca` callers need a certificate that it signed."""

    cert: str
    key: str
    client_ca: str | None = None


class NeuronTlsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the gateway meets hosts at https: `ca` signed theirs (else the system's), `cert` and `key` are its own."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None


def anchored(section: S, folder: Path) -> S:
    """The section with its relative file names resolved against `folder`."""
    names = [field for field in section.__struct_fields__ if field in _FILES]
    found = {name: getattr(section, name) for name in names}
    return msgspec.structs.replace(section, **{name: str(folder / path) for name, path in found.items() if path})
