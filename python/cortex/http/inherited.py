"""Listening sockets that the service manager hands over, so that a restart refuses no connection (sd_listen_fds(3))."""

import socket
from collections.abc import Mapping

from cortex.errors import ConfigError

__all__ = ["inherited_listener"]

_FIRST_FD = 3


def inherited_listener(environ: Mapping[str, str], pid: int) -> socket.socket | None:
    """The one listening TCP socket handed to process `pid`, or None where there is none.

    Raises ConfigError for several sockets or one of another kind: which of them to serve on is not ours to guess.
    """
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(pid) or not count.isdigit() or count == "0":
        return None
    if int(count) != 1:
        raise ConfigError(f"{count} sockets were handed over; the socket unit must have one ListenStream=")
    listener = socket.socket(fileno=_FIRST_FD)
    if not _listens_on_tcp(listener):
        listener.detach()
        raise ConfigError("the socket handed over does not listen on TCP; see ListenStream= of the socket unit")
    listener.set_inheritable(False)
    return listener


def _listens_on_tcp(candidate: socket.socket) -> bool:
    if candidate.family not in (socket.AF_INET, socket.AF_INET6) or candidate.type != socket.SOCK_STREAM:
        return False
    return candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
