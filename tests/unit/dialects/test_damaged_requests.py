"""Recorded requests with one value changed: decoded and passed on, or refused by a class of ours; never a crash."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cortex.dialects import anthropic, openai_chat, openai_completions, openai_responses
from cortex.errors import RequestError
from tests.unit.dialects.wire import compact, recorded

PassOn = Callable[[bytes], bytes]


def _response(body: bytes) -> bytes:
    asked = openai_responses.read_request(openai_responses.parse_request(body), earlier=[], keeps=True)
    return openai_chat.encode_request(asked.chat)


DIALECTS: dict[str, PassOn] = {
    "openai_chat": lambda body: openai_chat.encode_request(openai_chat.decode_request(body)),
    "openai_completions": lambda body: openai_completions.encode_request(openai_completions.decode_request(body)),
    "openai_responses": _response,
    "anthropic_messages": lambda body: openai_chat.encode_request(anthropic.decode_request(body)),
    "anthropic_count_tokens": lambda body: openai_chat.encode_request(anthropic.decode_count_tokens(body)),
}
VALUES = (
    None,
    True,
    0,
    -1,
    2**70,
    1.5,
    "",
    "x",
    "\ud800",
    [],
    ["x"],
    [[]],
    {},
    {"type": "x"},
    {"type": 1},
    [{}],
    [None],
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a body, a few of each long list."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value[:3]):
            yield from places(inner, (*path, index))


def with_value(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(body)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


CASES = [
    pytest.param(dialect, *case.values, id=f"{dialect}-{case.id}", marks=case.marks)
    for dialect in DIALECTS
    for case in recorded(dialect)
]


@pytest.mark.parametrize(("dialect", "path"), CASES)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_one_changed_value_is_passed_on_or_refused(dialect: str, path: Path, data: st.DataObject) -> None:
    body = json.loads(compact(path))
    place = data.draw(st.sampled_from(list(places(body))))
    changed = json.dumps(with_value(body, place, data.draw(st.sampled_from(VALUES)))).encode()
    refusal = None
    try:
        passed_on = DIALECTS[dialect](changed)
    except RequestError as error:
        refusal = error
    assert refusal.message if refusal is not None else json.loads(passed_on)
