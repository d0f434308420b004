"""models.toml: the catalogue of models that the fleet may run, and their aliases."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from cortex.config.loader import Loaded, load
from cortex.errors import ConfigError

__all__ = ["Cost", "Limit", "ModelProfile", "ModelsConfig", "load_models"]

Count = Annotated[int, msgspec.Meta(gt=0)]
Price = Annotated[float, msgspec.Meta(ge=0)]
DEFAULT_PRIORITY = 100
PINNED_PRIORITY = 1000


class Limit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Token limits: the context to load the model with, and what to advertise."""

    context: Count | None = None
    input: Count | None = None
    output: Count | None = None


class Cost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """USD per million tokens; an absent price is not zero."""

    input: Price | None = None
    output: Price | None = None
    cache_read: Price | None = None
    cache_write: Price | None = None


class ModelProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[[models]]`. `vram_mb` is the whole model, `min_device_vram_mb` a floor for each device's total."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
    harness: Literal["candle"] = "candle"
    quant: str | None = None
    vram_mb: Count | None = None
    min_devices: Count = 1
    min_device_vram_mb: Count | None = None
    pinned_on: tuple[str, ...] = ()
    residency_priority: int | None = None
    idle_ttl_secs: Annotated[float, msgspec.Meta(ge=0)] | None = None
    source: str | None = None
    limit: Limit = Limit()
    cost: Cost | None = None
    capabilities: tuple[str, ...] = ()

    @property
    def priority(self) -> int:
        """The class for displacement: as written, else by pinning."""
        if self.residency_priority is not None:
            return self.residency_priority
        return PINNED_PRIORITY if self.pinned_on else DEFAULT_PRIORITY


class ModelsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of models.toml."""

    models: tuple[ModelProfile, ...] = ()
    aliases: dict[str, str] = {}


def load_models(path: Path | None, environ: Mapping[str, str]) -> Loaded[ModelsConfig]:
    """Read the catalogue; ids are unique and an alias is no other model's id. Raises ConfigError."""
    loaded = load(ModelsConfig, path, default_path=None, prefix=None, environ=environ, refused={})
    seen: set[str] = set()
    for profile in loaded.config.models:
        if profile.id in seen:
            raise ConfigError(f"{loaded.origin}: model {profile.id!r} is listed twice")
        seen.add(profile.id)
    for alias in loaded.config.aliases:
        if alias in seen:
            raise ConfigError(f"{loaded.origin}: alias {alias!r} is also the id of a model")
    return loaded
