"""TLS for both ends: a listener's certificate, and the context that a client meets hosts with; 1.3 at least."""

import ssl
from pathlib import Path

import msgspec

from cortex.errors import ConfigError

__all__ = ["ListenerTls", "client_context", "listener_tls"]


class ListenerTls(msgspec.Struct, frozen=True, kw_only=True):
    """PEM files of a listener; with `client_ca` it talks only to callers with a certificate that this signed."""

    cert: Path
    key: Path
    client_ca: Path | None = None


def listener_tls(cert: str, key: str, client_ca: str | None) -> ListenerTls:
    """The files, proved to be usable. Raises ConfigError."""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key, password="")
        if client_ca is not None:
            context.load_verify_locations(client_ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(_explain(error, cert, key, client_ca)) from error
    return ListenerTls(cert=Path(cert), key=Path(key), client_ca=None if client_ca is None else Path(client_ca))


def client_context(*, ca: str | None, cert: str | None, key: str | None) -> ssl.SSLContext:
    """Verifies hosts by `ca`, else by the system's; shows `cert` to those that ask for one. Raises ConfigError."""
    try:
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if cert is not None:
            context.load_cert_chain(cert, key, password="")
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(_explain(error, ca, cert, key)) from error
    return context


def _explain(error: Exception, *paths: str | None) -> str:
    for path in paths:
        if path is not None and not Path(path).is_file():
            return f"{path}: no such file; TLS needs PEM files"
    names = ", ".join(path for path in paths if path is not None)
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return f"TLS cannot use {names}: {reason}"
