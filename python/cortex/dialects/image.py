"""One image of a message, inline or by URL."""

import msgspec

__all__ = ["Image"]


class Image(msgspec.Struct, frozen=True, kw_only=True, tag="image"):
    """An image given inline (`data:` URL) or by URL."""

    url: str
