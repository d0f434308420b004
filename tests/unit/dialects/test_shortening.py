"""Conversations without their oldest turns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortex.dialects.neutral import Message, ToolCall
from cortex.dialects.shortening import shortened
from tests.unit.dialects.generated import requests

SYSTEM = Message(role="system", content="Be brief.")
CALL = Message(role="assistant", tool_calls=(ToolCall(id="c", name="f", arguments="{}"),))
RESULT = Message(role="tool", content="r" * 50, tool_call_id="c")


def user(number: int) -> Message:
    return Message(role="user", content=f"{number}" * 50)


def answer(number: int) -> Message:
    return Message(role="assistant", content=f"{number}" * 50)


TALK = (SYSTEM, user(1), answer(1), user(2), CALL, RESULT, answer(2), user(3))


@pytest.mark.parametrize(
    ("share", "kept"),
    [
        (0.0, TALK),
        (0.1, (SYSTEM, *TALK[3:])),
        (0.4, (SYSTEM, user(3))),
        (1.0, (SYSTEM, user(3))),
    ],
)
def test_the_oldest_turns_go_with_all_that_belongs_to_them(share: float, kept: tuple[Message, ...]) -> None:
    assert shortened(TALK, share) == kept


def test_what_an_agent_does_since_the_last_question_stays() -> None:
    talk = (user(1), answer(1), user(2), CALL, RESULT)
    assert shortened(talk, 1.0) == (user(2), CALL, RESULT)
    assert shortened(talk[2:], 1.0) == talk[2:]
    assert shortened((), 1.0) == ()
    assert shortened((SYSTEM, answer(1)), 1.0) == (SYSTEM, answer(1))


@given(requests().map(lambda request: request.messages), st.floats(0, 1))
def test_only_turns_at_the_beginning_go(messages: tuple[Message, ...], share: float) -> None:
    kept = shortened(messages, share)
    assert len(kept) <= len(messages)
    lead = [message for message in kept if message.role == "system"]
    assert all(message in messages for message in lead)
    begin = next((index for index, message in enumerate(messages) if message.role != "system"), len(messages))
    rest = kept[begin:]
    assert messages[len(messages) - len(rest) :] == rest
