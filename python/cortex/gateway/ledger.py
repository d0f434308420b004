"""Ledger: one JSON line when a request begins and one when it ends, appended to a file, for whoever bills or counts.

A line is in the kernel's hands at once, so that an end of this process, however sudden, loses none: of a whole answer
before it is sent, of a stream right after its end. What began and has no ending gets one (`gateway_killed`) at the next
start. By `id` every request that was taken in ends exactly once.
"""

import logging
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from cortex.errors import ConfigError
from cortex.types import Usage

__all__ = ["KILLED", "Ledger", "Line"]

_log = logging.getLogger("cortex.gateway")
KILLED = "gateway_killed"
_TAIL_BYTES = 64 << 20
_MODE = 0o640


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of the file: `event` is `began` or `ended`, `at` Unix seconds, `key` a label, `id` our own."""

    event: str
    id: str
    at: float
    request_id: str = ""
    key: str = ""
    api: str = ""
    model: str = ""
    neuron: str = ""
    outcome: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


_DECODER = msgspec.json.Decoder(Line)


class Ledger:
    """Owns the file. `on_error` hears of every line that could not be written: a full disk stops no request."""

    def __init__(self, path: Path, on_error: Callable[[], None]) -> None:
        self._path = path
        self._on_error = on_error
        self._file: int | None = None
        self._torn = False

    def open(self) -> None:
        """Open the file, and end what an earlier process left open. Raises ConfigError."""
        try:
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _MODE)
            left, whole = _unended(self._path)
        except OSError as error:
            raise ConfigError(
                f"usage.ledger {self._path}: {error.strerror}; name a file this user may write"
            ) from error
        self._torn = not whole
        for line in left:
            self._write(msgspec.structs.replace(line, event="ended", at=time.time(), outcome=KILLED))

    def reopen(self) -> None:
        """Go on in a new file of that name, after the old one was moved away."""
        if self._file is None:
            return
        try:
            fresh = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _MODE)
        except OSError:
            self._failed("cannot be opened again")
            return
        os.close(self._file)
        self._file = fresh

    def close(self) -> None:
        """Close the file; idempotent."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def began(self, *, request_id: str, key: str, api: str) -> str:
        """A request was taken in; its id here, which nobody else has."""
        id_ = secrets.token_hex(10)
        self._write(Line(event="began", id=id_, at=time.time(), request_id=request_id, key=key, api=api))
        return id_

    def ended(self, id: str, *, usage: Usage, **fields: Any) -> None:
        """That request ended; `fields` are those of the line."""
        line = Line(
            event="ended",
            id=id,
            at=time.time(),
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
            **fields,
        )
        self._write(line)

    def _write(self, line: Line) -> None:
        if self._file is None:
            return
        data = msgspec.json.encode(line) + b"\n"
        if self._torn:
            data = b"\n" + data
        try:
            written = os.write(self._file, data)
        except OSError as error:
            self._failed(error.strerror or str(error))
            return
        self._torn = written < len(data)
        if self._torn:
            self._failed("the disk is full")

    def _failed(self, why: str) -> None:
        self._on_error()
        _log.error("usage ledger: a line is lost", extra={"fields": {"path": str(self._path), "reason": why}})


def _unended(path: Path) -> tuple[list[Line], bool]:
    """What began and has no ending, among the last lines, and whether the file ends with a whole line. A line that is
    none, since a disk was full or a machine went down, is passed over. What is no file on a disk has no past."""
    open_: dict[str, Line] = {}
    if not path.is_file():
        return [], True
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        last = b"\n"
        for raw in file:
            last = raw
            try:
                line = _DECODER.decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            if line.event == "began":
                open_[line.id] = line
            else:
                open_.pop(line.id, None)
    return list(open_.values()), last.endswith(b"\n")
