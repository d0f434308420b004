"""Names of what was accepted without meaning; those that clients make up are bounded, since they go into a header."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["IGNORED_FIELDS", "Ignored"]

IGNORED_FIELDS = (
    "client_metadata",
    "image_url.detail",
    "include",
    "max_tool_calls",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning.context",
    "reasoning.effort",
    "reasoning.mode",
    "safety_identifier",
    "service_tier",
    "store",
    "stream_options.include_obfuscation",
    "text.verbosity",
    "tools.allowed_callers",
    "tools.defer_loading",
    "tools.format",
    "tools.output_schema",
    "user",
)
"""Accepted without meaning on one's own hardware, and named in `x-cortex-ignored` whenever given: `include` where it
asks for parts of tools that this server does not have, `reasoning.effort` unless it is `none` (which switches thinking
off), `store` where nothing is kept, `tools.format` because a grammar is told to the model but not enforced. Also named:
`input.TYPE` and `input.FIELD` for items and their fields that are not known, `tools.TYPE` and `tools.FIELD`."""

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,47}")
_LIMIT = 32


class Ignored:
    """Gathers the names of one request."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._made_up: set[str] = set()

    def add(self, *names: str) -> None:
        """Names of our own list."""
        self._names.update(names)

    def add_made_up(self, place: str, name: object) -> None:
        """`place.name` for a name out of the request; one that is no plain word is told as `place.*`."""
        plain = isinstance(name, str) and _PLAIN.fullmatch(name) and len(self._made_up) < _LIMIT
        self._made_up.add(f"{place}.{name}" if plain else f"{place}.*")

    def add_unknown(self, place: str, raw: Mapping[str, Any], known: Iterable[str]) -> None:
        """All fields of `raw` that hold something and are not among the known ones."""
        for name in raw.keys() - set(known):
            if raw[name] is not None:
                self.add_made_up(place, name)

    def names(self) -> tuple[str, ...]:
        """All of them, sorted."""
        return tuple(sorted(self._names | self._made_up))
