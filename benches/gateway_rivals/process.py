"""A gateway as a process with all its children: started, asked for CPU time and memory, ended."""

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Self

from benches.gateway_rivals.contestants import Contestant, NotInstalled
from benches.gateway_rivals.load import asked

__all__ = ["Running"]

_TICKS = os.sysconf("SC_CLK_TCK")
_READY_SECONDS = 90.0
_CHAT = "/v1/chat/completions"


class Running:
    """One contestant at work; its processes are those of a session of their own."""

    def __init__(self, contestant: Contestant, log: Path) -> None:
        self.contestant = contestant
        self._log = log
        self._file = log.open("wb")
        self._process = subprocess.Popen(
            contestant.command,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **contestant.environ},
            start_new_session=True,
        )

    def wait(self) -> None:
        """Until it answers. Raises NotInstalled when it does not."""
        deadline, last = time.monotonic() + _READY_SECONDS, "nothing"
        head, _, body = asked(_CHAT, self.contestant.model, self.contestant.headers).partition(b"\r\n\r\n")
        lines = (line.decode().split(": ", 1) for line in head.split(b"\r\n")[1:])
        headers = {name: value for name, value in lines if name not in ("host", "content-length")}
        while time.monotonic() < deadline and self._process.poll() is None:
            url = f"http://127.0.0.1:{self.contestant.port}{_CHAT}"
            try:
                with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=5):
                    return
            except urllib.error.HTTPError as error:
                last = error.read()[:160].decode(errors="replace")
            except OSError as error:
                last = str(error)
            time.sleep(0.2)
        said = self._log.read_text(errors="replace").strip().splitlines()
        raise NotInstalled(f"{self.contestant.name} does not serve: {last}; {said[-1][:160] if said else ''}")

    def cpu_seconds(self) -> float:
        """Of all its processes so far."""
        total = 0
        for fields in self._stats():
            total += int(fields[11]) + int(fields[12])
        return total / _TICKS

    def resident_bytes(self) -> int:
        """Of all its processes."""
        return sum(int(fields[21]) for fields in self._stats()) * os.sysconf("SC_PAGE_SIZE")

    def _stats(self) -> list[list[str]]:
        """The fields of /proc/PID/stat from the third (state) on."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == self._process.pid:
                found.append(fields)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
        self._file.close()
