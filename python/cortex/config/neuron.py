"""neuron.toml: where the host daemon listens, what it loads at start, and how its engine is bounded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from cortex.config.auth import NeuronAuthConfig, TlsConfig, anchored
from cortex.config.loader import Loaded, load

__all__ = [
    "AdmissionConfig",
    "CandleConfig",
    "DefaultModel",
    "HarnessConfig",
    "HarnessEntry",
    "NeuronConfig",
    "SourceConfig",
    "load_neuron",
]

DEFAULT_PATH = Path("/etc/neuron/neuron.toml")
Count = Annotated[int, msgspec.Meta(gt=0)]
Positive = Annotated[float, msgspec.Meta(gt=0)]


class HarnessEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[harnesses]]`; candle is the only one and needs no entry."""

    name: Literal["candle"]


class SourceConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[harness.candle.sources.SCHEME]`: a further registry; its token is the variable `auth_env` names."""

    endpoint: Annotated[str, msgspec.Meta(pattern=r"^https?://[^/\s]+")]
    auth_env: str | None = None
    cache_dir: str | None = None


class AdmissionConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many requests a model runs at once (`max_in_flight`) and how many wait how long for a place."""

    max_in_flight: Count = 32
    max_queue_depth: Annotated[int, msgspec.Meta(ge=0)] = 256
    max_wait_secs: Positive = 120.0


class CandleConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[harness.candle]`. None = the engine's own choice (threads from affinity, context from the model and memory).

    A model whose engine has work and makes no step for `stuck_secs` is given up."""

    hf_cache: str | None = None
    default_source: str = "huggingface"
    sources: dict[str, SourceConfig] = {}
    admission: AdmissionConfig = AdmissionConfig()
    threads: Count | None = None
    context_length: Count | None = None
    kv_mb: Count | None = None
    step_tokens: Count | None = None
    stuck_secs: Positive = 300.0


class HarnessConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[harness]`."""

    candle: CandleConfig = CandleConfig()


class DefaultModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[default_models]]`: loaded in order, in the background, after the daemon listens."""

    model_id: Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
    harness: Literal["candle"] = "candle"
    quant: str | None = None
    source: str | None = None
    tensor_parallel: Count | None = None
    devices: tuple[int, ...] | None = None
    context_length: Count | None = None


class NeuronConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of neuron.toml. `memory_mb` caps what models may take of a CPU host's RAM."""

    host: str = "0.0.0.0"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 13131
    harnesses: tuple[HarnessEntry, ...] = (HarnessEntry(name="candle"),)
    harness: HarnessConfig = HarnessConfig()
    default_models: tuple[DefaultModel, ...] = ()
    memory_mb: Count | None = None
    max_body_bytes: Count = 64 * 1024 * 1024
    keep_alive_secs: Positive = 5.0
    drain_secs: Positive = 30.0
    auth: NeuronAuthConfig | None = None
    tls: TlsConfig | None = None


# Keys of later versions of the original that have no meaning here: accepted, and said at start.
OBSOLETE = {
    "harness.candle.prefix_cache": "the prefix cache shares the KV blocks and needs no budget",
    "harness.candle.context_limit": "the context is limited by the model and by KV memory; set context_length",
    "harness.candle.image": "image generation is not part of this version",
    "harness.candle.admission.max_per_principal": "limits per key are the gateway's",
    "harness.candle.admission.anon_max_in_flight": "limits per key are the gateway's",
    "harness.candle.admission.anon_max_pending": "limits per key are the gateway's",
    "harness.candle.admission.kv_max_wait_secs": "one wait limit covers slots and KV memory: max_wait_secs",
}


def load_neuron(path: Path | None, environ: Mapping[str, str]) -> Loaded[NeuronConfig]:
    """Read neuron.toml (`path`, else the default place if it is there) and `NEURON_` overrides; raises ConfigError."""
    loaded = load(
        NeuronConfig, path, default_path=DEFAULT_PATH, prefix="NEURON_", environ=environ, refused={}, obsolete=OBSOLETE
    )
    folder = loaded.path.parent if loaded.path else Path.cwd()
    config = msgspec.structs.replace(
        loaded.config,
        auth=None if loaded.config.auth is None else anchored(loaded.config.auth, folder),
        tls=None if loaded.config.tls is None else anchored(loaded.config.tls, folder),
    )
    return Loaded(config, loaded.path, loaded.warnings)
