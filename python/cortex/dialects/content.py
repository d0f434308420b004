"""Content of a turn, text or parts in order: how parts fold into text, and how two contents become one."""

from collections.abc import Iterable

from cortex.dialects.image import Image

__all__ = ["Content", "folded", "joined"]

Content = str | tuple[str | Image, ...]


def folded(parts: Iterable[str | Image]) -> Content:
    """Text parts joined by a newline, unless an image stands among them."""
    kept = tuple(parts)
    texts = [part for part in kept if isinstance(part, str)]
    return "\n".join(texts) if len(texts) == len(kept) else kept


def joined(first: Content, second: Content) -> Content:
    """Two contents as one, apart by an empty line where both are text."""
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    return (*((first,) if isinstance(first, str) else first), *((second,) if isinstance(second, str) else second))
