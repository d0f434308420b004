"""The question whose answer proves a model: bodies in both dialects, what was said and what only thought, the verdict.

It is greedy and names the form of the answer: without the second sentence small models come near a tie between words.
"""

from typing import Any, NamedTuple

__all__ = ["Said", "anthropic_body", "anthropic_said", "chat_body", "chat_said", "verdict"]

QUESTION = "What is the capital of France? Answer with the name of the city."
ANSWER = "paris"
MAX_TOKENS = 512  # room to think first
_OPEN, _CLOSE = "<think>", "</think>"
_SHOWN = 60


class Said(NamedTuple):
    """What a model answered, and what it thought before, each without the marks between them."""

    answer: str
    thoughts: str
    cut: bool = False


def chat_body(model: str) -> dict[str, Any]:
    """For `/v1/chat/completions`."""
    messages = [{"role": "user", "content": QUESTION}]
    return {"model": model, "messages": messages, "temperature": 0, "max_tokens": MAX_TOKENS}


def anthropic_body(model: str) -> dict[str, Any]:
    """For `/v1/messages`."""
    return chat_body(model)


def chat_said(response: Any) -> Said:
    """Of a chat completion. Raises KeyError, IndexError or TypeError for an answer of another shape."""
    choice = response["choices"][0]
    message = choice["message"]
    said = _split(message.get("content") or "")
    thoughts = message.get("reasoning_content") or message.get("reasoning") or ""
    return Said(said.answer, thoughts + said.thoughts, choice.get("finish_reason") == "length")


def anthropic_said(response: Any) -> Said:
    """Of a message. Raises KeyError or TypeError for an answer of another shape."""
    blocks = response["content"]
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    thoughts = "".join(block["thinking"] for block in blocks if block["type"] == "thinking")
    said = _split(text)
    return Said(said.answer, thoughts + said.thoughts, response.get("stop_reason") == "max_tokens")


def verdict(said: Said) -> tuple[bool, str]:
    """Whether the model knows, and why we think so: 1. it says so; 2. it was cut while it thought so; 3. no."""
    shown = " ".join(said.answer.split())
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    if ANSWER in said.answer.lower():  # 1.
        return True, shown
    if not said.answer.strip() and said.cut and ANSWER in said.thoughts.lower():  # 2.
        return True, f"thought so for {MAX_TOKENS} tokens without an answer"
    return False, f"expected Paris, got {shown!r}"  # 3.


def _split(text: str) -> Said:
    """The mark that opens may stand in the prompt, so that only the one that closes is here."""
    before, closed, after = text.partition(_CLOSE)
    if closed:
        return Said(after, before.replace(_OPEN, ""))
    before, opened, after = text.partition(_OPEN)
    return Said(before, after) if opened else Said(text, "")
