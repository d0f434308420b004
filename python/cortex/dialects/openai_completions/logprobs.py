"""`logprobs` of a raw completion: parallel lists, with the place of each token in the text."""

import codecs
from typing import Any

from cortex.dialects.logprobs import TokenLogprob

__all__ = ["LogprobsWriter"]


class LogprobsWriter:
    """Writes the entries of one choice as they come; offsets count characters of the choice's text."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset: int | None = None

    def write(self, text: str, entries: tuple[TokenLogprob, ...]) -> dict[str, Any] | None:
        """The lists for these entries; `text` is what is shown with the first of them."""
        if not entries:
            return None
        return {
            "tokens": [entry.token for entry in entries],
            "token_logprobs": [entry.logprob for entry in entries],
            "top_logprobs": [_alternatives(entry) for entry in entries],
            "text_offset": [self._place(text, entry) for entry in entries],
        }

    def _place(self, text: str, entry: TokenLogprob) -> int:
        """Where the token begins: a character that several tokens make belongs to the first of them."""
        piece = bytes(entry.bytes or ())
        if self._offset is None and piece:
            # The space that some tokenizers put before a text is a token's and not the text's.
            self._offset = -1 if piece.startswith(b" ") and text and not text.startswith(" ") else 0
        place = max(self._offset or 0, 0)
        if self._offset is not None:
            self._offset += len(self._decoder.decode(piece))
        return place


def _alternatives(entry: TokenLogprob) -> dict[str, float] | None:
    """The most likely tokens, and always the one itself; none for a prompt's first."""
    if entry.logprob is None:
        return None
    best = {other.token: other.logprob for other in reversed(entry.top_logprobs)}  # of equal names the likelier stays
    return {entry.token: entry.logprob} | dict(reversed(best.items()))
