"""Notifier: what a daemon tells the service manager that started it: ready, status, alive, stopping (sd_notify(3))."""

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping

__all__ = ["Notifier"]

_log = logging.getLogger("cortex.http")
_LONGEST_PAUSE = 1.0
_FEEDS_PER_TIMEOUT = 3


class Notifier:
    """Sends to $NOTIFY_SOCKET, and does nothing where there is none. `watchdog_seconds` is how long the manager waits
    for a sign of life, None where it does not watch."""

    def __init__(self, address: str | None = None, watchdog_seconds: float | None = None) -> None:
        self._address = address
        self._watchdog_seconds = watchdog_seconds

    @classmethod
    def of(cls, environ: Mapping[str, str], pid: int) -> "Notifier":
        """By the manager's variables; a watchdog that is meant for another process than `pid` is not ours to feed."""
        address = environ.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return cls()
        microseconds = environ.get("WATCHDOG_USEC", "")
        ours = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        watched = ours and microseconds.isdigit() and int(microseconds) > 0
        return cls(address, int(microseconds) / 1e6 if watched else None)

    def ready(self, status: str) -> None:
        """The daemon listens."""
        self._send("READY=1", f"STATUS={_line(status)}")

    def stopping(self) -> None:
        """The daemon drains."""
        self._send("STOPPING=1", "STATUS=draining")

    async def keep_informed(self, status: Callable[[], str], alive: Callable[[], bool]) -> None:
        """Until cancelled: send `status` when it changed, and a sign of life as long as `alive` holds. It runs on the
        event loop, so a loop that is stuck sends none."""
        if self._address is None:
            return
        pause = min(_LONGEST_PAUSE, (self._watchdog_seconds or _LONGEST_PAUSE) / _FEEDS_PER_TIMEOUT)
        said: str | None = None
        while True:
            line = status()
            if line != said:
                self._send(f"STATUS={_line(line)}")
                said = line
            if self._watchdog_seconds is not None and alive():
                self._send("WATCHDOG=1")
            await asyncio.sleep(pause)

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto("\n".join(lines).encode(), address)
        except OSError as error:  # a manager that is gone or busy is no reason to stop serving
            _log.debug("service manager not told", extra={"fields": {"reason": str(error)}})


def _line(text: str) -> str:
    return " ".join(text.split())
