"""Signatures of thinking: opaque to the client, and ours to check when the thinking comes back."""

import base64
import hashlib
import hmac

__all__ = ["sign", "verify"]


def sign(thinking: str, model: str, key: bytes) -> str:
    """HMAC-SHA256 over model and thinking, so that the thinking of another model does not pass for this one's."""
    mac = hmac.new(key, f"{model}\0{thinking}".encode(), hashlib.sha256)
    return base64.b64encode(mac.digest()).decode()


def verify(signature: str, thinking: str, model: str, key: bytes) -> bool:
    """Whether we signed this thinking for this model with this key."""
    return hmac.compare_digest(sign(thinking, model, key).encode(), signature.encode("utf-8", "replace"))
