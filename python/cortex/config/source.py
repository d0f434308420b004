"""Everything a gateway reads: cortex.toml, models.toml, keys, token; once at the start, and anew while it runs.

Anew each file counts by itself: one that cannot be used stays as it was, so that a mistake in the catalogue does not
keep a revoked key alive.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from cortex.config.gateway import GatewayConfig, catalogue_path, load_gateway
from cortex.config.keys import KeyRecord, read_keys
from cortex.config.models import ModelsConfig, load_models
from cortex.config.secrets import read_tokens
from cortex.config.warnings import gateway_warnings
from cortex.errors import ConfigError

__all__ = ["FILES", "GatewayFiles", "GatewaySource", "Stamp", "gateway_files"]

FILES = ("cortex.toml", "models.toml", "keys", "token")
Stamp = tuple[tuple[int, int, int] | None, ...]
_Settings = tuple[GatewayConfig, Path | None, Path | None, Sequence[str]]
_Models = tuple[ModelsConfig, Sequence[str]]
T = TypeVar("T")


class GatewayFiles(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force. `path` and `catalogue` are the two TOML files, None where built-in defaults stand for them."""

    config: GatewayConfig = GatewayConfig()
    models: ModelsConfig = ModelsConfig()
    keys: tuple[KeyRecord, ...] = ()
    tokens: tuple[str, ...] = ()
    path: Path | None = None
    catalogue: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def warnings(self) -> list[str]:
        """What an operator should know: of the files, and of who is let in."""
        return [*self.notes, *gateway_warnings(self.config, keys=len(self.keys), tokens=self.tokens)]


def gateway_files(config: GatewayConfig, models: ModelsConfig, environ: Mapping[str, str]) -> GatewayFiles:
    """Settings that came from no file, with the keys and the token that they name. Raises ConfigError."""
    auth = config.auth
    return GatewayFiles(
        config=config,
        models=models,
        keys=() if auth is None else read_keys(Path(auth.keys_file)),
        tokens=read_tokens(None if auth is None else auth.token_file, environ),
    )


class GatewaySource:
    """`path` is cortex.toml (None = the default place, if it is there); `adjust` puts in what the command line says."""

    def __init__(
        self,
        path: Path | None,
        environ: Mapping[str, str],
        *,
        adjust: Callable[[GatewayConfig], GatewayConfig] = lambda config: config,
    ) -> None:
        self._path = path
        self._environ = environ
        self._adjust = adjust

    def read(self) -> GatewayFiles:
        """All of it. Raises the first ConfigError."""
        files, troubles = self.reread(GatewayFiles())
        for error in troubles.values():
            raise error
        return files

    def reread(self, old: GatewayFiles) -> tuple[GatewayFiles, dict[str, ConfigError]]:
        """What is in force after a look at all files, and what was wrong with those that stay as they were."""
        troubles: dict[str, ConfigError] = {}
        before: _Settings = (old.config, old.path, old.catalogue, ())
        config, path, catalogue, notes = _tried("cortex.toml", self._settings, before, troubles)
        known: _Models = (old.models, ())
        models, more = _tried("models.toml", lambda: self._models(catalogue), known, troubles)
        auth = config.auth
        keys_file = None if auth is None else Path(auth.keys_file)
        token_file = None if auth is None else auth.token_file
        files = GatewayFiles(
            config=config,
            models=models,
            keys=_tried("keys", lambda: () if keys_file is None else read_keys(keys_file), old.keys, troubles),
            tokens=_tried("token", lambda: read_tokens(token_file, self._environ), old.tokens, troubles),
            path=path,
            catalogue=catalogue,
            notes=(*notes, *more),
        )
        return files, troubles

    def stamp(self, files: GatewayFiles) -> Stamp:
        """Changes when one of the files does; reads none."""
        auth = files.config.auth
        secrets = (None, None) if auth is None else (auth.keys_file, auth.token_file)
        names = (files.path, files.catalogue, *secrets)
        return tuple(None if name is None else _stamp(Path(name)) for name in names)

    def _settings(self) -> _Settings:
        loaded = load_gateway(self._path, self._environ)
        return self._adjust(loaded.config), loaded.path, catalogue_path(loaded), loaded.warnings

    def _models(self, catalogue: Path | None) -> _Models:
        loaded = load_models(catalogue, self._environ)
        return loaded.config, loaded.warnings


def _tried(name: str, read: Callable[[], T], old: T, troubles: dict[str, ConfigError]) -> T:
    try:
        return read()
    except ConfigError as error:
        troubles[name] = error
        return old


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
