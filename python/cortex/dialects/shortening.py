"""Shortening: a conversation without its oldest turns, for a client that would rather lose them than be refused."""

from cortex.dialects.neutral import Message

__all__ = ["shortened"]


def shortened(messages: tuple[Message, ...], share: float) -> tuple[Message, ...]:
    """About this share of the bytes is left out, the oldest turns first.

    System text and everything from the last user turn on stay. What remains begins with a user turn, so that no tool
    result stands without its call. The same messages where nothing more can go.
    """
    first = next((index for index, message in enumerate(messages) if message.role != "system"), len(messages))
    last = max((index for index, message in enumerate(messages) if message.role == "user"), default=first)
    wanted = share * sum(map(_size, messages))
    cut, gone = first, 0
    while cut < last and (gone < wanted or messages[cut].role != "user"):
        gone += _size(messages[cut])
        cut += 1
    return (*messages[:first], *messages[cut:])


def _size(message: Message) -> int:
    parts = (message.content,) if isinstance(message.content, str) else message.content
    texts = [part if isinstance(part, str) else part.url for part in parts]
    texts += [call.arguments for call in message.tool_calls]
    return sum(map(len, texts)) + len(message.reasoning or "") + 16  # a turn takes something, whatever it says
