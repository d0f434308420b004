"""How an answer ended, and whether well: success, an error in the caller's dialect, a stream that says it broke."""

import json
import sys
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Any

from cortex.dialects.sse import SseParser
from tests.conftest import shared_folder
from tests.wire.client import Exchange

__all__ = ["DIALECTS", "Ending", "Verdict", "judged", "rules_there"]

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
MESSAGES, RESPONSES, COUNT = "/v1/messages", "/v1/responses", "/v1/messages/count_tokens"
DIALECTS = {
    CHAT: "openai_chat",
    COMPLETIONS: "openai_completions",
    RESPONSES: "openai_responses",
    MESSAGES: "anthropic_messages",
}
_WHOLE = {
    CHAT: "choices",
    COMPLETIONS: "choices",
    EMBEDDINGS: "data",
    MESSAGES: "content",
    RESPONSES: "output",
    COUNT: "input_tokens",
}
_LATER = (429, 503, 529)


class Ending(StrEnum):
    """Exactly one of these; CUT = the connection broke without a word, which only our own death excuses."""

    OK = "ok"
    ERROR = "error"
    BROKEN = "broken"
    CUT = "cut"
    LEFT = "left"


Verdict = tuple[Ending, str]


def judged(path: str, request: Mapping[str, Any], answer: Exchange) -> Verdict:
    """The ending, and the error's code (Anthropic: its type) or an empty text. Raises AssertionError for an answer that
    is none of them."""
    if answer.left:
        return Ending.LEFT, ""
    if answer.status is None or not answer.whole:
        return Ending.CUT, ""
    assert not answer.extra, f"bytes after the answer: {answer.extra[:200]!r}"
    if answer.status != 200:
        return Ending.ERROR, _error(path, answer)
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        assert request.get("stream"), "a stream that nobody asked for"
        return _stream(path, request, answer.body)
    assert not request.get("stream"), f"no stream: {answer.headers}"
    assert _WHOLE[path] in answer.json, f"no answer of {path}: {answer.body[:200]!r}"
    assert "error" not in answer.json or answer.json["error"] is None
    return Ending.OK, ""


def _error(path: str, answer: Exchange) -> str:
    """A whole error: its envelope, and when to come again where that helps."""
    assert answer.status is not None
    assert 400 <= answer.status < 600, answer.status
    assert answer.headers["content-type"] == "application/json"
    if answer.status in _LATER:
        assert int(answer.headers["retry-after"]) >= 1, answer.headers
    return _code(path, answer.json)


def _code(path: str, body: Any) -> str:
    error = body["error"]
    assert isinstance(error["message"], str)
    assert error["message"]
    if path.startswith(MESSAGES):
        assert body["type"] == "error"
        return str(error["type"])
    assert isinstance(error["type"], str)
    return str(error["code"])


def _stream(path: str, request: Mapping[str, Any], body: bytes) -> Verdict:
    found = rules_of(DIALECTS[path])(body, dict(request)) if rules_there() else []
    assert found == [], f"{path}: {found[:5]} in {body[-2000:]!r}"
    events = SseParser().feed(body)
    assert events, f"a stream without events: {body[:200]!r}"
    last = events[-1].data
    if last == b"[DONE]":
        return Ending.OK, ""
    told = json.loads(last)
    kind = told.get("type")
    if kind in ("message_stop", "response.completed", "response.incomplete"):
        return Ending.OK, ""
    if kind == "response.failed":
        return Ending.BROKEN, str(told["response"]["error"]["code"])
    if kind == "error" and path == RESPONSES:
        return Ending.BROKEN, str(told["code"])
    return Ending.BROKEN, _code(path, told)


def rules_there() -> bool:
    """Whether the shared rules of streams are beside this checkout; without them only the ends are looked at."""
    return shared_folder() is not None


@cache
def rules_of(dialect: str) -> Any:
    """`check(stream, request)` for one dialect's rules."""
    folder = shared_folder()
    assert folder is not None
    wire = str(folder / "fixtures" / "wire")
    if wire not in sys.path:
        sys.path.insert(0, wire)
    from check_stream import check, load_rules  # type: ignore[import-not-found]

    rules = load_rules(dialect)
    return lambda stream, request: list(check(stream, rules, request))
