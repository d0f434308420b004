"""Where recorded requests and the stream checker come from, and small readers for what the codecs emit."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cortex.dialects.sse import SseParser
from tests.conftest import ROOT, shared_folder

__all__ = ["OWN", "compact", "payloads", "recorded", "rules_of"]

OWN = ROOT / "tests" / "data" / "wire"


def _wire() -> Path | None:
    folder = shared_folder()
    return None if folder is None else folder / "fixtures" / "wire"


def recorded(dialect: str) -> list[Any]:
    """pytest parameters: each recorded request of a dialect, ours and the shared ones; a skip where these are not."""
    found = [pytest.param(path, id=path.stem) for path in sorted((OWN / "requests" / dialect).glob("*.json"))]
    wire = _wire()
    if wire is None:
        reason = "shared/fixtures/wire is not beside this checkout: only our own few requests are read"
        return [*found, pytest.param(None, id="shared", marks=pytest.mark.skip(reason=reason))]
    shared = sorted((wire / "requests" / dialect).glob("*.json"))
    assert shared, f"no recorded requests of {dialect} in {wire}"
    return [*found, *(pytest.param(path, id=path.stem) for path in shared)]


def compact(path: Path) -> bytes:
    """The body of a recorded request, in the bytes that the client sent."""
    body = json.loads(path.read_text(encoding="utf-8"))["body"]
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def rules_of(name: str) -> Callable[..., list[Any]]:
    """`check(stream, request=None)` for the rules of one dialect; skips where the shared checker is not."""
    wire = _wire()
    if wire is None:
        pytest.skip("shared/fixtures/wire/check_stream.py is not beside this checkout: stream rules are not checked")
    if str(wire) not in sys.path:
        sys.path.insert(0, str(wire))
    from check_stream import check, load_rules  # type: ignore[import-not-found]

    rules = load_rules(name)

    def checked(stream: bytes, request: dict[str, Any] | None = None) -> list[Any]:
        return list(check(stream, rules, request))

    return checked


def payloads(stream: bytes) -> list[Any]:
    """The JSON of each event of a stream, `[DONE]` as that text."""
    events = SseParser().feed(stream)
    return [event.data.decode() if event.data == b"[DONE]" else json.loads(event.data) for event in events]
