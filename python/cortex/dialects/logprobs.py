"""Log probabilities of tokens, from the model's raw distribution, as OpenAI's chat dialect has them."""

from typing import Any

import msgspec

__all__ = ["TokenLogprob", "TopLogprob", "content", "parse_logprobs"]


class TopLogprob(msgspec.Struct, frozen=True):
    """One of the most likely tokens; `bytes` is None for a control token, and `token` its name."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None


class TokenLogprob(msgspec.Struct, frozen=True):
    """A token that came out, or that stands in a prompt (where the first has no `logprob`).

    Bytes that are no text by themselves are written as `bytes:\\xe2\\x82` in `token`.
    """

    token: str
    logprob: float | None = None
    bytes: tuple[int, ...] | None = None
    top_logprobs: tuple[TopLogprob, ...] = ()


_DECODER = msgspec.json.Decoder(tuple[TokenLogprob, ...])


def parse_logprobs(raw: str | bytes | None) -> tuple[TokenLogprob, ...]:
    """A JSON list of entries; nothing for None."""
    return () if raw is None else _DECODER.decode(raw)


def content(entries: tuple[TokenLogprob, ...]) -> dict[str, Any] | None:
    """The `logprobs` of a chat choice; null where there is nothing to say."""
    return {"content": entries, "refusal": None} if entries else None
