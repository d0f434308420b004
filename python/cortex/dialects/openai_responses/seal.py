"""`encrypted_content` of reasoning items: thinking that a client carries for us, which only we can have written."""

import base64
import binascii
import hashlib
import hmac

__all__ = ["seal", "unseal"]

_MAC_BYTES = 32


def seal(thinking: str, model: str, key: bytes) -> str:
    """The thinking under an HMAC-SHA256 over model and thinking, as base64. It is signed, not hidden."""
    text = thinking.encode()
    return base64.b64encode(_mac(text, model, key) + text).decode()


def unseal(sealed: str, model: str, key: bytes) -> str | None:
    """The thinking, None where we did not write it for this model with this key."""
    try:
        raw = base64.b64decode(sealed.encode(), validate=True)
        text = raw[_MAC_BYTES:].decode()
    except (binascii.Error, ValueError):
        return None
    return text if hmac.compare_digest(_mac(raw[_MAC_BYTES:], model, key), raw[:_MAC_BYTES]) else None


def _mac(text: bytes, model: str, key: bytes) -> bytes:
    return hmac.new(key, model.encode() + b"\0" + text, hashlib.sha256).digest()
