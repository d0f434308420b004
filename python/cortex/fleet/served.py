"""What a server that is not ours serves: its `GET /v1/models` as models of a host."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import msgspec

from cortex.protocol import ModelEntry
from cortex.types import ModelState

__all__ = ["ServedList", "served"]


class _Meta(msgspec.Struct, frozen=True):
    n_ctx: int | None = None
    n_ctx_train: int | None = None


class _Served(msgspec.Struct, frozen=True):
    id: str
    max_model_len: int | None = None
    context_length: int | None = None
    meta: _Meta | None = None


class ServedList(msgspec.Struct, frozen=True):
    """The answer, as far as it is looked at; servers say their window in different words."""

    data: tuple[_Served, ...]


def served(found: ServedList, only: Sequence[str]) -> tuple[ModelEntry, ...]:
    """The models that one of the patterns names, without any all."""
    wanted = [one for one in found.data if not only or any(fnmatchcase(one.id, name) for name in only)]
    return tuple(_entry(one) for one in wanted)


def _entry(one: _Served) -> ModelEntry:
    meta = one.meta or _Meta()
    window = one.max_model_len or one.context_length or meta.n_ctx or meta.n_ctx_train
    return ModelEntry(id=one.id, status=ModelState.LOADED, harness="openai", context_length=window)
