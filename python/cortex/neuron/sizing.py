"""How much memory a model gets: from its header, the settings and what is free, before anything is allocated."""

import msgspec

__all__ = ["Header", "Size", "actual_size", "choose_size"]

_CONTEXTS = 4  # full contexts that the KV pool holds unless the settings say otherwise
_KV_LIMIT = 2 << 30
_FLOOR_TOKENS = 4096  # a context is not cut below this to make a model fit
_BLOCK_TOKENS = 32
_FRAGMENTATION = 20  # one part in so many


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a model's file says before it is loaded; `context_length` is the longest it can, or as asked. A model that
    embeds keeps the texts of one pass only; an encoder keeps nothing. `state_bytes` are what each sequence takes beside
    its KV, in models with layers that have no attention."""

    architecture: str
    context_length: int
    weights_bytes: int
    kv_bytes_per_token: int
    work_bytes: int
    state_bytes: int = 0
    embeds: bool = False


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """The KV pool, the states of all sequences, and all together; what it was computed from, and with how little the
    model would be loaded."""

    header: Header
    kv_bytes: int
    state_bytes: int
    total_bytes: int
    least_bytes: int


def actual_size(size: Size, *, weights_bytes: int, kv_bytes: int) -> int:
    """All bytes of a loaded model, now that its engine has said what weights and KV pool take."""
    return _total(msgspec.structs.replace(size.header, weights_bytes=weights_bytes), kv_bytes + size.state_bytes)


def choose_size(
    header: Header, *, free: int, max_sequences: int, kv_bytes: int | None = None, context_asked: bool = False
) -> Size:
    """The size to reserve. Numbers as in the code.

    1. The settings say how large the KV pool is: so. 2. Else a few full contexts, at most 2 GiB, at least one context
    where its length was asked for. 3. Where that is more than is free, what is free, but not below the floor: then the
    reservation fails, and its numbers say by how much.
    """
    states = header.state_bytes * max_sequences
    if header.kv_bytes_per_token == 0:
        kv_bytes = 0
    if kv_bytes is not None:  # 1.
        return _size(header, states, kv_bytes, kv_bytes)
    one = _tokens(header, header.context_length)
    contexts = 1 if header.embeds else _CONTEXTS
    usual = min(one * min(max_sequences, contexts), _KV_LIMIT)
    floor = one if context_asked else min(one, _tokens(header, _FLOOR_TOKENS))
    usual = max(usual, floor)  # 2.
    room = free * _FRAGMENTATION // (_FRAGMENTATION + 1) - header.weights_bytes - header.work_bytes - states
    return _size(header, states, max(floor, min(usual, room)), floor)  # 3.


def _tokens(header: Header, count: int) -> int:
    """Bytes of so many tokens in whole blocks."""
    return -(-count // _BLOCK_TOKENS) * _BLOCK_TOKENS * header.kv_bytes_per_token


def _size(header: Header, states: int, kv_bytes: int, floor: int) -> Size:
    total, least = _total(header, kv_bytes + states), _total(header, floor + states)
    return Size(header=header, kv_bytes=kv_bytes, state_bytes=states, total_bytes=total, least_bytes=least)


def _total(header: Header, kept: int) -> int:
    total = header.weights_bytes + header.work_bytes + kept
    return total + total // _FRAGMENTATION
