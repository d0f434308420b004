"""`/v1/responses` on the host itself: answers, streams and errors in this dialect."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.neuron.rig import Answer, Rig, running
from tests.unit.dialects.wire import payloads, rules_of

pytestmark = pytest.mark.anyio
TEXT = "The capital of France is Paris."


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as rig:
        assert (await rig.load()).status == 200
        rig.engine().asked.clear()
        yield rig


async def ask(rig: Rig, **fields: Any) -> Answer:
    return await rig.ask("POST", "/v1/responses", {"model": "alpha", "input": "capital?", **fields})


async def test_an_answer_is_whole(rig: Rig) -> None:
    answer = await ask(rig, instructions="be brief", max_output_tokens=7, user="u")
    assert (answer.status, answer.json["status"]) == (200, "completed")
    assert answer.json["output"][0]["content"][0]["text"] == TEXT
    assert answer.json["usage"]["output_tokens"] == 3
    assert answer.headers["x-cortex-ignored"] == "user"
    assert rig.engine().rendered[-1]["messages"][0] == {"role": "system", "content": "be brief"}
    assert rig.engine().asked[0].max_tokens == 7


async def test_a_stream_keeps_the_rules(rig: Rig) -> None:
    answer = await ask(rig, stream=True)
    assert rules_of("openai_responses")(answer.body) == []
    last = payloads(answer.body)[-1]
    assert (last["type"], last["response"]["output"][0]["content"][0]["text"]) == ("response.completed", TEXT)


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"model": "alp"}, 404, "model_not_found"),
        ({"input": []}, 400, "invalid_value"),
        ({"no_such": 1}, 400, "unsupported_parameter"),
        ({"previous_response_id": "resp_1"}, 400, "chained_conversation_not_supported"),
        ({"input": "x" * 5000}, 400, "context_length_exceeded"),
    ],
)
async def test_errors_are_in_this_dialect(rig: Rig, fields: dict[str, Any], status: int, code: str) -> None:
    answer = await ask(rig, **fields)
    assert (answer.status, answer.error["code"]) == (status, code)
