"""`[[neurons]]`: the hosts that a gateway knows: our own daemons, and plain servers that speak OpenAI's dialect."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec

from cortex.errors import ConfigError

__all__ = ["NeuronPeer", "checked_peers"]


class NeuronPeer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One host by name and base URL. `kind` openai = a server that is not ours (vLLM, llama.cpp, another cortex): it is
    asked for what it serves, and nothing is loaded there. Only there: `api_key` or the variable that `api_key_env`
    names is sent as Bearer, and `models` (names, or patterns with `*`) are those to take from it, none = all;
    `responses`: it speaks `/v1/responses` itself."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    endpoint: Annotated[
        str, msgspec.Meta(pattern=r"^https?://[^/\s?#@]+(/[^\s?#]*)?$", examples=["http://beast:13131"])
    ]
    kind: Literal["neuron", "openai"] = "neuron"
    api_key: str | None = None
    api_key_env: str | None = None
    models: tuple[str, ...] = ()
    responses: bool = False

    @property
    def base(self) -> str:
        """The URL that the paths of the API are put behind: without `/` at its end, and without `/v1`."""
        url = self.endpoint.rstrip("/")
        return url.removesuffix("/v1").rstrip("/") if self.kind == "openai" else url

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return "/".join(self.endpoint.split("/", 3)[:3])


def checked_peers(peers: Sequence[NeuronPeer], environ: Mapping[str, str], file: str) -> tuple[NeuronPeer, ...]:
    """The peers with their keys out of the environment. Raises ConfigError; `file` is where they stand.

    Hosts are told apart by name, and one host under two names would be counted twice: both are unique. Keys are sent by
    host and port, so two peers do not share these either.
    """
    names: set[str] = set()
    origins: dict[str, str] = {}
    for peer in peers:
        if peer.name in names:
            raise ConfigError(f"{file}: neuron {peer.name!r} is listed twice; give each host its own name")
        names.add(peer.name)
        other = origins.setdefault(peer.origin, peer.name)
        if other != peer.name:
            raise ConfigError(f"{file}: neurons {other!r} and {peer.name!r} have the same endpoint")
    return tuple(_with_key(peer, environ, file) for peer in peers)


def _with_key(peer: NeuronPeer, environ: Mapping[str, str], file: str) -> NeuronPeer:
    where = f"{file}: neuron {peer.name!r}"
    if peer.kind == "neuron":
        if peer.endpoint.rstrip("/") != peer.origin:
            raise ConfigError(f"{where}: endpoint is http://HOST:13131, without a path")
        given = [name for name in ("api_key", "api_key_env", "models", "responses") if getattr(peer, name)]
        if given:
            raise ConfigError(f'{where}: {given[0]} is for kind = "openai" only')
        return peer
    if peer.api_key_env is None:
        return peer
    if peer.api_key is not None:
        raise ConfigError(f"{where}: api_key and api_key_env: write one of them")
    key = environ.get(peer.api_key_env, "").strip()
    if not key:
        raise ConfigError(f"{where}: the environment has no {peer.api_key_env}, which api_key_env names")
    return msgspec.structs.replace(peer, api_key=key)
