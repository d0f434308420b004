"""Secrets: the token that gateway and hosts share, from the environment or a file that others cannot read."""

import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from cortex.errors import ConfigError

__all__ = ["TOKEN_VARIABLE", "check_private", "new_token", "read_tokens", "write_private"]

TOKEN_VARIABLE = "CORTEX_NEURON_TOKEN"
_SHORTEST = 16
_MODE = 0o640


def read_tokens(path: str | None, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The tokens: the variable's, else one a line of the file; none where neither is given. The first is the one to
    send, all are taken, so that a token can be changed without a gap. Raises ConfigError."""
    text = environ.get(TOKEN_VARIABLE)
    where = TOKEN_VARIABLE
    if text is None:
        if path is None:
            return ()
        where, text = path, _read(Path(path))
    tokens = tuple(line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#"))
    if not tokens:
        raise ConfigError(f"{where}: no token in it; `cortex keys token` makes one")
    if any(len(token) < _SHORTEST or not token.isascii() or not token.isprintable() for token in tokens):
        raise ConfigError(f"{where}: a token is {_SHORTEST} or more printable ASCII characters")
    return tokens


def check_private(path: Path) -> None:
    """Raise ConfigError for a file with secrets that everybody on the machine may read or change."""
    mode = path.stat().st_mode
    if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        raise ConfigError(f"{path}: others may read or change it; run `chmod 640 {path}`")


def new_token() -> str:
    """A fresh token."""
    return secrets.token_urlsafe(32)


def write_private(path: Path, data: bytes) -> None:
    """Write the whole file at once, with mode 0640; one that replaces another keeps its owner and group, a new one
    gets the group of its folder, so that a service may read what root wrote."""
    folder = path.parent.stat()
    owner, group = -1, folder.st_gid
    if path.exists():
        old = path.stat()
        owner, group = old.st_uid, old.st_gid
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE), "wb") as out:
            out.write(data)
            out.flush()
            os.fchmod(out.fileno(), _MODE)
            if os.geteuid() == 0:
                os.fchown(out.fileno(), owner, group)
            os.fsync(out.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="ascii")
        check_private(path)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: no such file; `cortex keys token --write {path}` makes one, and every host and the gateway "
            "need the same"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    return text
