"""Real daemons as processes on loopback, for end-to-end tests."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any, Self

READY_SECONDS = 60.0


def free_port() -> int:
    """A port that was free a moment ago."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get_json(url: str, timeout: float = 5.0) -> Any:
    """The JSON of a GET."""
    with urllib.request.urlopen(url, timeout=timeout) as response:
        return json.load(response)


class Daemon:
    """One process of ours; its messages go to a file that a failing test shows."""

    def __init__(self, command: list[str], log: Path, environ: dict[str, str] | None = None) -> None:
        self.log = log
        self._file = log.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdout=self._file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environ or {})},
        )

    def wait_for(self, url: str, accept: Any = lambda value: True) -> Any:
        """Poll `url` until `accept` likes its JSON; fails with the log when the daemon died or time is up."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.output()}"
            try:
                value = get_json(url)
                if accept(value):
                    return value
            except (OSError, ValueError):
                pass
            time.sleep(0.02)
        raise AssertionError(f"{url} not ready in {READY_SECONDS} s:\n{self.output()}")

    def output(self) -> str:
        """What the daemon said so far."""
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(10)

    def stop(self, seconds: float = 20.0) -> int:
        """SIGTERM, and the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not end within {seconds} s of SIGTERM:\n{self.output()}") from None
        finally:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()
        self._file.close()
