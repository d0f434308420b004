"""API keys: `sk-cortex-ID-SECRET`, of which only the ID and a hash are kept, in a JSON file with mode 0640.

The secret has 256 random bits, so one round of SHA-256 is enough; it is compared in constant time.
"""

import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec

from cortex.config.auth import KeyLimits
from cortex.config.secrets import check_private, write_private
from cortex.errors import ConfigError

__all__ = ["KeyRecord", "Keyring", "change_keys", "new_key", "read_keys"]

_PREFIX = "sk-cortex-"
_LABEL = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One key. `label` is what logs and metrics show; `created` is Unix seconds; an `admin` may change the fleet."""

    id: str
    label: Annotated[str, msgspec.Meta(pattern=_LABEL)]
    hash: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
    created: int
    admin: bool = False
    limits: KeyLimits = KeyLimits()


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    keys: tuple[KeyRecord, ...] = ()


class Keyring:
    """The keys by ID."""

    def __init__(self, records: Sequence[KeyRecord] = ()) -> None:
        self._records = {record.id: record for record in records}

    def __len__(self) -> int:
        return len(self._records)

    def find(self, text: str) -> KeyRecord | None:
        """The record of a key, None for one that is not valid; takes the same time either way."""
        id_ = text.removeprefix(_PREFIX).partition("-")[0]
        record = self._records.get(id_)
        same = hmac.compare_digest(_hash(text), record.hash if record is not None else "0" * 64)
        return record if same else None


def new_key(label: str, *, admin: bool, limits: KeyLimits, now: float) -> tuple[str, KeyRecord]:
    """A fresh key and its record; the key itself cannot be had again. Raises ConfigError for a label that is none."""
    id_ = secrets.token_hex(5)
    text = f"{_PREFIX}{id_}-{secrets.token_urlsafe(32)}"
    made = {"id": id_, "label": label, "hash": _hash(text), "created": int(now), "admin": admin}
    try:
        return text, msgspec.convert({**made, "limits": msgspec.to_builtins(limits)}, KeyRecord)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{label!r}: a label is up to 64 letters, digits and ._@- characters") from error


def read_keys(path: Path) -> tuple[KeyRecord, ...]:
    """The keys of a file; none where it does not exist yet. Raises ConfigError for one that is broken or public."""
    try:
        data = path.read_bytes()
        check_private(path)
        records = msgspec.json.decode(data, type=_File).keys
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a file of `cortex keys`: {error}") from error
    if len({record.id for record in records}) != len(records):
        raise ConfigError(f"{path}: a key is in it twice")
    return records


def change_keys(path: Path, change: Callable[[tuple[KeyRecord, ...]], Sequence[KeyRecord]]) -> None:
    """Replace the keys by `change(keys)`; two that do so at once do it one after the other."""
    with _alone(path.parent):
        records = tuple(change(read_keys(path)))
        write_private(path, msgspec.json.format(msgspec.json.encode(_File(keys=records))) + b"\n")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be used for keys: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
