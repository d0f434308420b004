"""Several choices of one prompt, and what is told of their tokens: numbered, seeded apart, counted once."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.neuron.rig import Rig, running

pytestmark = pytest.mark.anyio
TEXT = "The capital of France is Paris."
PIECES = ["The capital", " of France", " is Paris."]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as rig:
        assert (await rig.load()).status == 200
        rig.engine().asked.clear()
        yield rig


async def test_a_chat_has_as_many_choices_as_asked_for_and_its_prompt_is_counted_once(rig: Rig) -> None:
    body = (await rig.chat(n=3, seed=7)).json
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    assert {choice["message"]["content"] for choice in body["choices"]} == {TEXT}
    assert body["usage"]["prompt_tokens"] == len("<user>capital of France?")
    assert body["usage"]["completion_tokens"] == 9
    assert sorted(asked.seed or 0 for asked in rig.engine().asked) == [7, 8, 9]
    rig.engine().asked.clear()
    await rig.chat(n=2, seed=-1)
    assert sorted(asked.seed or 0 for asked in rig.engine().asked) == [0, 2**64 - 1]


async def test_a_streamed_chat_has_a_role_and_an_end_for_each_choice_and_one_usage(rig: Rig) -> None:
    answer = await rig.chat(n=2, stream=True, stream_options={"include_usage": True})
    choices = [choice for chunk in answer.chunks for choice in chunk["choices"]]
    for index in range(2):
        own = [choice for choice in choices if choice["index"] == index]
        assert own[0]["delta"] == {"role": "assistant", "content": ""}
        assert "".join(choice["delta"].get("content", "") for choice in own) == TEXT
        assert [choice["finish_reason"] for choice in own] == [None] * (len(own) - 1) + ["stop"]
    assert answer.body.count(b"[DONE]") == 1
    usages = [chunk["usage"] for chunk in answer.chunks if chunk["usage"]]
    assert [usage["completion_tokens"] for usage in usages] == [6]


async def test_a_chat_tells_its_tokens_with_as_many_alternatives_as_asked_for(rig: Rig) -> None:
    choice = (await rig.chat(logprobs=True, top_logprobs=2)).json["choices"][0]
    said = choice["logprobs"]["content"]
    assert [entry["token"] for entry in said] == PIECES
    assert said[0]["bytes"] == list(b"The capital")
    assert [other["token"] for other in said[1]["top_logprobs"]] == ["best", "next"]
    choice = (await rig.chat(logprobs=True)).json["choices"][0]
    assert [entry["top_logprobs"] for entry in choice["logprobs"]["content"]] == [[]] * 3
    assert (await rig.chat()).json["choices"][0]["logprobs"] is None
    assert [asked.logprobs for asked in rig.engine().asked] == [2, 0, None]


async def test_a_stream_tells_each_token_with_its_text(rig: Rig) -> None:
    answer = await rig.chat(logprobs=True, stream=True)
    choices = [chunk["choices"][0] for chunk in answer.chunks]
    told = [choice for choice in choices if choice["logprobs"]]
    assert [choice["delta"]["content"] for choice in told] == PIECES
    assert [[entry["token"] for entry in choice["logprobs"]["content"]] for choice in told] == [[p] for p in PIECES]


async def test_a_completion_tells_where_its_tokens_stand(rig: Rig) -> None:
    said = (await rig.complete(logprobs=1)).json["choices"][0]["logprobs"]
    assert said["tokens"] == PIECES
    assert said["token_logprobs"] == [-0.5] * 3
    assert said["top_logprobs"][0] == {"best": -0.25, "The capital": -0.5}
    assert said["text_offset"] == [0, 11, 21]
    assert (await rig.complete()).json["choices"][0]["logprobs"] is None


@pytest.mark.parametrize("max_tokens", [0, 1])
async def test_an_echo_with_logprobs_scores_the_prompt_first(rig: Rig, max_tokens: int) -> None:
    asked: dict[str, Any] = {"prompt": "ab é", "echo": True, "logprobs": 1, "max_tokens": max_tokens}
    choice = (await rig.complete(**asked)).json["choices"][0]
    said = choice["logprobs"]
    assert choice["text"].startswith("ab é")
    assert said["token_logprobs"][:3] == [None, -0.5, -0.5]
    assert said["top_logprobs"][0] is None
    assert rig.engine().asked[0].prompt_logprobs == 1
    stream = await rig.complete(**asked, stream=True)
    told = [chunk["choices"][0]["logprobs"] for chunk in stream.chunks if chunk["choices"][0]["logprobs"]]
    assert [token for part in told for token in part["tokens"]] == said["tokens"]
    assert [place for part in told for place in part["text_offset"]] == said["text_offset"]


async def test_stop_tokens_and_biases_reach_the_engine(rig: Rig) -> None:
    await rig.chat(stop_token_ids=[5, 6], logit_bias={"7": -100, "8": 1.5})
    await rig.complete(stop_token_ids=[9], logit_bias={"1": 2})
    chat, raw = rig.engine().asked
    assert (chat.stop_token_ids, chat.logit_bias) == ((5, 6), ((7, -100.0), (8, 1.5)))
    assert (raw.stop_token_ids, raw.logit_bias) == ((9,), ((1, 2.0),))
