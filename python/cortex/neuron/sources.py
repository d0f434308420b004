"""Where a model comes from: a model id, a quantisation and a source become a path on this host.

A model id is one of: a path (`/models/x.gguf`, `./x`, `~/x`, or a `*.gguf` file that is there);
`package:module/path`; a repository id `owner/name` of the default registry; `scheme:owner/name` of another.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from cortex.config.neuron import CandleConfig, SourceConfig
from cortex.errors import QuantNotFound, SourceNotFound
from cortex.neuron.fetch import Fetch
from cortex.neuron.hub import Registry
from cortex.neuron.package_source import package_path
from cortex.neuron.selection import choose, quant_label

__all__ = ["Sources"]

HUB_SCHEMES = ("huggingface", "hf")
HUB_ENDPOINT = "https://huggingface.co"
PACKAGE = "package"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9_+-]*):(.+)", re.DOTALL)
_TRUE = ("1", "on", "yes", "true")


class Sources:
    """All sources of one host, from its configuration and environment; `resolve` blocks and belongs in a thread."""

    def __init__(
        self,
        *,
        environ: Mapping[str, str],
        hf_cache: str | None = None,
        default_source: str = "huggingface",
        sources: Mapping[str, SourceConfig] | None = None,
        retry_seconds: float = 1.0,
    ) -> None:
        self._environ = environ
        self._hf_cache = hf_cache
        self._default = default_source
        self._sources = dict(sources or {})
        self._retry_seconds = retry_seconds

    @classmethod
    def of(cls, config: CandleConfig, environ: Mapping[str, str]) -> "Sources":
        """The sources that `[harness.candle]` and the environment describe."""
        return cls(
            environ=environ, hf_cache=config.hf_cache, default_source=config.default_source, sources=config.sources
        )

    def resolve(self, model_id: str, *, quant: str | None = None, source: str | None = None, fetch: Fetch) -> Path:
        """The path of the model's GGUF file or folder, fetched first if need be. Numbers as in the code.

        1. `source` is a location (a path or `package:`): it, whatever the id is called. 2. `source` is a scheme:
        the id in that registry. 3. No source: the id says it itself, by its form or its scheme.
        Raises SourceNotFound, QuantNotFound, FetchCancelled.
        """
        if source is not None and _is_location(source):  # 1
            return self._local(source, quant)
        if source is not None:  # 2
            repo = model_id.removeprefix(f"{source}:")
            return self._registry(source).resolve(repo, quant, fetch)
        if _is_location(model_id):  # 3
            return self._local(model_id, quant)
        scheme, repo = self._default, model_id
        if prefixed := _SCHEME.fullmatch(model_id):
            scheme, repo = prefixed[1], prefixed[2]
        return self._registry(scheme).resolve(repo, quant, fetch)

    def _local(self, location: str, quant: str | None) -> Path:
        if location.startswith(f"{PACKAGE}:"):
            path = package_path(location.removeprefix(f"{PACKAGE}:"))
        else:
            path = Path(location).expanduser()
        if not path.exists():
            raise SourceNotFound(f"{path} does not exist", param="model_id")
        if path.is_dir() and quant is not None:
            names = [str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()]
            choice = choose(names, quant=quant, what=str(path))
            return path / choice.weights[0] if choice.is_gguf else path
        if quant is not None:
            _check_quant(path, quant)
        return path

    def _registry(self, scheme: str) -> Registry:
        offline = self._environ.get("HF_HUB_OFFLINE", "").lower() in _TRUE
        if scheme in self._sources:
            config = self._sources[scheme]
            token = self._environ.get(config.auth_env) or None if config.auth_env else None
            return Registry(
                config.endpoint,
                Path(config.cache_dir).expanduser() if config.cache_dir else self._other_cache(config.endpoint),
                token=token,
                token_variable=config.auth_env or f"harness.candle.sources.{scheme}.auth_env",
                offline=offline,
                retry_seconds=self._retry_seconds,
            )
        if scheme not in HUB_SCHEMES:
            known = [HUB_SCHEMES[0], PACKAGE, *sorted(self._sources)]
            raise SourceNotFound(
                f"no source is called {scheme!r}; there are {', '.join(known)}",
                param="source",
                extras={"available": known},
            )
        endpoint = self._environ.get("HF_ENDPOINT") or HUB_ENDPOINT
        cache, token = self._hub_cache(), self._hub_token()
        return Registry(endpoint, cache, token=token, offline=offline, retry_seconds=self._retry_seconds)

    def _hub_home(self) -> Path:
        if home := self._environ.get("HF_HOME"):
            return Path(home).expanduser()
        base = self._environ.get("XDG_CACHE_HOME")
        return (Path(base) if base else self._home() / ".cache") / "huggingface"

    def _hub_cache(self) -> Path:
        named = self._hf_cache or self._environ.get("HF_HUB_CACHE")
        return Path(named).expanduser() if named else self._hub_home() / "hub"

    def _hub_token(self) -> str | None:
        if token := self._environ.get("HF_TOKEN", "").strip():
            return token
        try:
            path = self._environ.get("HF_TOKEN_PATH") or self._hub_home() / "token"
            return Path(path).read_text(encoding="utf-8").strip() or None
        except OSError:
            return None

    def _other_cache(self, endpoint: str) -> Path:
        """A registry's own cache: equal repository names of two registries must not meet."""
        base = self._environ.get("XDG_CACHE_HOME")
        host = re.sub(r"[^A-Za-z0-9.-]", "_", urlsplit(endpoint).netloc)
        return (Path(base) if base else self._home() / ".cache") / "cortex" / "registries" / host

    def _home(self) -> Path:
        home = self._environ.get("HOME")
        return Path(home) if home else Path.home()


def _check_quant(path: Path, quant: str) -> None:
    """A file leaves nothing to choose; one whose name states another quantisation is not what was asked for."""
    label = quant_label(path.name)
    if label != path.name and quant.lower() not in path.name.lower():
        raise QuantNotFound(
            f"{path} is {label}, not {quant}; name another file, or leave the quantisation out",
            param="quant",
            extras={"available": [label], "nearest": []},
        )


def _is_location(text: str) -> bool:
    """Whether an id or a source is a path or a package rather than a name in a registry."""
    if text.startswith(("/", "./", "../", "~", f"{PACKAGE}:")):
        return True
    return text.endswith((".gguf", ".safetensors")) and Path(text).is_file()
