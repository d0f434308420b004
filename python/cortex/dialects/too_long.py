"""Prompts that are too long, in the words of servers that are not ours: what they say, and the numbers in it."""

import re

__all__ = ["lengths_in", "says_too_long"]

_SAYS = re.compile(
    r"maximum context length|exceeds? the (available )?context|longer than the model's context|exceed_context_size",
    re.IGNORECASE,
)
_LIMIT = re.compile(r"context (?:length|size|window)\D{0,8}(\d+)", re.IGNORECASE)
_INPUT = re.compile(r"(\d+) (?:input tokens|prompt tokens|in the messages|tokens from the input)", re.IGNORECASE)
_TOTAL = re.compile(r"(?:requested|resulted in|request has|request|input)\D{0,12}(\d+) tokens", re.IGNORECASE)


def lengths_in(message: str) -> dict[str, int]:
    """`prompt_tokens` and `limit`, as far as the sentence has them: what the prompt alone takes, else the request."""
    tokens = _INPUT.search(message) or _TOTAL.search(message)
    limit = _LIMIT.search(message)
    found = {"prompt_tokens": tokens, "limit": limit}
    return {name: int(match[1]) for name, match in found.items() if match is not None}


def says_too_long(message: str) -> bool:
    """Whether it is about a prompt that does not fit; an answer that would not fit beside it is another matter."""
    if not _SAYS.search(message):
        return False
    found = lengths_in(message)
    return not ("limit" in found and found.get("prompt_tokens", found["limit"]) < found["limit"])
