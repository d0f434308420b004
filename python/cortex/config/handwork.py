"""Handwork: what an operator told a running gateway, in a file, so that the next one knows it: pins and duties."""

from pathlib import Path
from typing import Literal

import msgspec

from cortex.config.secrets import write_private
from cortex.errors import ConfigError

__all__ = ["Duty", "Handwork", "Pin", "read_handwork", "write_handwork"]

Duty = Literal["cordoned", "drained"]


class Pin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, order=True):
    """A model that is not evicted from a host."""

    model: str
    host: str


class Handwork(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`duties` are by host; one that is not named does everything."""

    pins: tuple[Pin, ...] = ()
    duties: dict[str, Duty] = {}


def read_handwork(path: Path) -> Handwork:
    """The file's; nothing where there is none yet. Raises ConfigError for one that is broken."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Handwork)
    except FileNotFoundError:
        return Handwork()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: not what a gateway wrote: {error}; move it away, and pin, cordon and drain anew"
        ) from error


def write_handwork(path: Path, work: Handwork) -> None:
    """Replace the file at once. Raises ConfigError."""
    try:
        write_private(path, msgspec.json.format(msgspec.json.encode(work)) + b"\n")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
