"""Probes: a socket that asks a silent other side whether it is still there, where the system can (tcp(7))."""

import socket

import msgspec

__all__ = ["Probes", "probe"]


class Probes(msgspec.Struct, frozen=True, kw_only=True):
    """After `idle_seconds` of silence a probe every `every_seconds`; after `count` without an answer the connection is
    dead. With `sent_seconds` also when nothing of what was sent is acknowledged for so long."""

    idle_seconds: int
    every_seconds: int
    count: int
    sent_seconds: int | None = None


def probe(connection: socket.socket, probes: Probes) -> None:
    """Set the options; a listening socket hands them on to what it accepts. Raises OSError where one is refused."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    values = {
        "TCP_KEEPIDLE": probes.idle_seconds,
        "TCP_KEEPINTVL": probes.every_seconds,
        "TCP_KEEPCNT": probes.count,
        "TCP_USER_TIMEOUT": None if probes.sent_seconds is None else 1000 * probes.sent_seconds,
    }
    for name, value in values.items():
        option = getattr(socket, name, None)
        if option is not None and value is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
