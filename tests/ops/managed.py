"""A daemon under a service manager of the test's own: notification socket, watchdog, a listening socket handed over."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

# What systemd does between fork and exec: the listener becomes descriptor 3, and LISTEN_PID is the daemon's own.
HAND_OVER = """\
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class Manager:
    """Hears what daemons say; every message is kept."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self.messages: list[str] = []

    def wait_for(self, text: str, seconds: float = 30.0) -> None:
        """Until a message holds `text`; those before it are taken too."""
        deadline = time.monotonic() + seconds
        while not any(text in message for message in self.messages):
            left = deadline - time.monotonic()
            readable = left > 0 and select.select([self._socket], [], [], left)[0]
            assert readable, f"{text} was not said within {seconds} s, but {self.messages}"
            self.messages.append(self._socket.recv(4096).decode())

    def forget(self) -> None:
        """Drop the messages so far."""
        self.messages.clear()

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def managed(
    arguments: list[str], manager: Manager, log: Path, listener: socket.socket | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m ARGUMENTS` under the manager; killed at the end if it still runs."""
    hand_over = ["-c", HAND_OVER, str(listener.fileno())] if listener is not None else []
    command = [sys.executable, *hand_over, "-m", *arguments]
    environ = {**os.environ, "NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "1000000"}
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=environ,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[listener.fileno()] if listener is not None else [],
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(10)


def stop(process: subprocess.Popen[bytes], seconds: float = 20.0) -> int:
    """SIGTERM, and the exit status."""
    process.send_signal(signal.SIGTERM)
    return process.wait(seconds)
