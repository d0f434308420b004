"""Answers that are kept: conversations that go on, bounds, expiry, a file that survives, and what is refused."""

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest

from cortex.config import ResponsesConfig
from cortex.errors import ConfigError, PreviousNotFound, ResponseNotFound
from cortex.gateway.response_store import Kept, ResponseStore
from tests.fakes.neuron import FakeNeuron
from tests.gateway.rig import RESPONSES, TEXT, Rig, body_for, running
from tests.unit.dialects.wire import payloads, rules_of

pytestmark = pytest.mark.anyio
ME = "key 1"
KEEPS = ResponsesConfig(store=True)


@asynccontextmanager
async def opened(path: Path | None = None, **bounds: Any) -> AsyncIterator[ResponseStore]:
    fields: dict[str, Any] = {"max_entries": 100, "max_bytes": 10**6, "ttl_seconds": 100.0, **bounds}
    store = ResponseStore(path, **fields)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def kept(number: int, previous: int | None = None, size: int = 0) -> Kept:
    said = {"id": f"msg_{number}_0", "type": "message", "text": f"answer {number}" + "x" * size}
    return Kept(
        id=f"resp_{number}",
        owner=ME,
        previous=None if previous is None else f"resp_{previous}",
        input=msgspec.json.encode([{"role": "user", "content": f"question {number}"}]),
        body=msgspec.json.encode({"id": f"resp_{number}", "output": [said]}),
    )


async def there(store: ResponseStore, now: float, *numbers: int) -> list[int]:
    found = []
    for number in numbers:
        try:
            await store.get(f"resp_{number}", ME, now)
            found.append(number)
        except ResponseNotFound:
            continue
    return found


async def test_a_conversation_is_all_that_led_to_it_in_order() -> None:
    async with opened() as store:
        for number, previous in ((1, None), (2, 1), (3, 2), (4, 1)):
            await store.put(kept(number, previous), 1.0)
        items = await store.conversation("resp_3", ME, 2.0)
        assert [item.get("content") or item["text"] for item in items] == [
            f"{what} {number}" for number in (1, 2, 3) for what in ("question", "answer")
        ]
        assert len(await store.conversation("resp_4", ME, 2.0)) == 4


async def test_what_was_used_longest_ago_goes_first() -> None:
    async with opened(max_entries=3) as store:
        for number, previous, now in ((1, None, 1.0), (2, 1, 2.0), (3, None, 3.0)):
            await store.put(kept(number, previous), now)
        await store.conversation("resp_2", ME, 4.0)
        await store.put(kept(5), 5.0)
        assert await there(store, 5.0, 1, 2, 3, 5) == [1, 2, 5]


async def test_bytes_are_bounded() -> None:
    async with opened(max_bytes=3000) as store:
        for number in range(5):
            await store.put(kept(number, size=1000), float(number))
        assert await there(store, 5.0, *range(5)) == [3, 4]


async def test_answers_expire_but_not_while_they_are_gone_on_from() -> None:
    async with opened(ttl_seconds=10.0) as store:
        await store.put(kept(1), 0.0)
        await store.put(kept(2), 0.0)
        await store.conversation("resp_1", ME, 9.0)
        assert await there(store, 12.0, 1, 2) == [1]
        with pytest.raises(PreviousNotFound):
            await store.conversation("resp_2", ME, 12.0)


async def test_a_conversation_with_a_lost_beginning_is_refused() -> None:
    async with opened() as store:
        await store.put(kept(1), 1.0)
        await store.put(kept(2, 1), 1.0)
        await store.delete("resp_1", ME)
        with pytest.raises(PreviousNotFound):
            await store.conversation("resp_2", ME, 2.0)
        with pytest.raises(ResponseNotFound):
            await store.delete("resp_1", ME)


async def test_only_its_owner_sees_an_answer() -> None:
    async with opened() as store:
        await store.put(kept(1), 1.0)
        assert await store.items({"msg_1_0": ("resp_1", 0)}, "key 2", 2.0) == {}
        with pytest.raises(PreviousNotFound):
            await store.conversation("resp_1", "", 2.0)
        with pytest.raises(ResponseNotFound):
            await store.get("resp_1", "key 2", 2.0)
        with pytest.raises(ResponseNotFound):
            await store.delete("resp_1", "key 2")
        assert (await store.get("resp_1", ME, 2.0)).owner == ME


async def test_the_file_survives_and_is_for_its_user_only(tmp_path: Path) -> None:
    path = tmp_path / "responses.db"
    async with opened(path) as store:
        await store.put(kept(1), 1.0)
    async with opened(path) as store:
        assert (await store.get("resp_1", ME, 2.0)).body == kept(1).body
        assert await store.items({"msg_1_0": ("resp_1", 0), "msg_1_9": ("resp_1", 9)}, ME, 2.0) == {
            "msg_1_0": {"id": "msg_1_0", "type": "message", "text": "answer 1"}
        }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_file_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database" * 1000)
    for path in (broken, tmp_path / "no" / "such" / "folder.db"):
        with pytest.raises(ConfigError, match=r"responses\.path"):
            async with opened(path):
                pass


async def test_an_answer_that_cannot_be_kept_is_an_answer_all_the_same(beast: FakeNeuron, tmp_path: Path) -> None:
    path = tmp_path / "responses.db"
    async with running(beast, responses=ResponsesConfig(store=True, path=str(path))) as rig:
        await rig.sees_loaded("beast", "alpha")
        with sqlite3.connect(path) as other:
            other.execute("DROP TABLE responses")
        for stream in (False, True):
            assert (await rig.post(RESPONSES, body_for(RESPONSES, stream=stream))).status == 200
        other.close()


@pytest.fixture
async def keeper(beast: FakeNeuron) -> AsyncIterator[Rig]:
    async with running(beast, responses=KEEPS) as rig:
        await rig.sees_loaded("beast", "alpha")
        yield rig


@pytest.fixture
async def gpt(keeper: Rig) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{keeper.gateway.url}/v1", api_key="none", max_retries=0) as client:
        yield client


async def test_the_sdk_goes_on_from_an_answer(gpt: openai.AsyncOpenAI, beast: FakeNeuron) -> None:
    first = await gpt.responses.create(model="alpha", input="Capital of France?", instructions="Be brief.")
    async with gpt.responses.stream(model="alpha", input="And Italy?", previous_response_id=first.id) as stream:
        second = await stream.get_final_response()
    third = await gpt.responses.create(model="alpha", input="And Spain?", previous_response_id=second.id)
    assert (first.store, second.previous_response_id, third.previous_response_id) == (True, first.id, second.id)  # type: ignore[attr-defined]
    turns = [(turn["role"], turn["content"]) for turn in msgspec.json.decode(beast.bodies[-1])["messages"]]
    assert turns == [
        *(("user", "Capital of France?"), ("assistant", TEXT), ("user", "And Italy?"), ("assistant", TEXT)),
        ("user", "And Spain?"),
    ]


async def test_the_sdk_fetches_lists_and_deletes(gpt: openai.AsyncOpenAI) -> None:
    asked: list[Any] = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    made = await gpt.responses.create(model="alpha", input=[*asked, {"role": "user", "content": "c"}])
    assert await gpt.responses.retrieve(made.id) == made
    listed = [item async for item in gpt.responses.input_items.list(made.id, limit=2, order="asc")]
    assert [item.content[0].text for item in listed] == ["a", "b", "c"]  # type: ignore[union-attr]
    await gpt.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        await gpt.responses.retrieve(made.id)
    with pytest.raises(openai.BadRequestError) as caught:
        await gpt.responses.create(model="alpha", input="x", previous_response_id=made.id)
    assert caught.value.code == "previous_response_not_found"


async def test_items_may_be_named_instead_of_repeated(gpt: openai.AsyncOpenAI, beast: FakeNeuron) -> None:
    made = await gpt.responses.create(model="alpha", input="Capital of France?")
    item: Any = {"type": "item_reference", "id": made.output[0].id}
    await gpt.responses.create(model="alpha", input=[item, {"role": "user", "content": "Why?"}])
    assert [turn["content"] for turn in msgspec.json.decode(beast.bodies[-1])["messages"]] == [TEXT, "Why?"]
    with pytest.raises(openai.BadRequestError) as caught:
        await gpt.responses.create(model="alpha", input=[{"type": "item_reference", "id": "msg_1_0"}])
    assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "input[0].id")


async def test_an_answer_is_kept_before_its_last_event_goes_out(keeper: Rig) -> None:
    stream = (await keeper.post(RESPONSES, body_for(RESPONSES, stream=True))).body
    assert rules_of("openai_responses")(stream) == []
    last = payloads(stream)[-1]["response"]
    assert (await keeper.ask("GET", f"{RESPONSES}/{last['id']}")).json == last


async def test_what_shall_not_be_kept_is_not(keeper: Rig) -> None:
    for stream in (False, True):
        answer = await keeper.post(RESPONSES, body_for(RESPONSES, store=False, stream=stream))
        id_ = (payloads(answer.body)[0]["response"] if stream else answer.json)["id"]
        assert (await keeper.ask("GET", f"{RESPONSES}/{id_}")).status == 404


async def test_many_answers_at_once_are_all_kept(keeper: Rig) -> None:
    answers = await asyncio.gather(*(keeper.post(RESPONSES, body_for(RESPONSES)) for _ in range(20)))
    for answer in answers:
        assert (await keeper.ask("GET", f"{RESPONSES}/{answer.json['id']}")).json == answer.json


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("order=up", "order"),
        ("before=a", "before"),
        ("after=none", "after"),
    ],
)
async def test_a_wrong_page_is_named(keeper: Rig, query: str, param: str) -> None:
    made = (await keeper.post(RESPONSES, body_for(RESPONSES))).json["id"]
    answer = await keeper.ask("GET", f"{RESPONSES}/{made}/input_items?{query}")
    assert (answer.status, answer.error["param"]) == (400, param)


@pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("DELETE", ""), ("GET", "/input_items")])
async def test_where_nothing_is_kept_nothing_is_given(rig: Rig, method: str, tail: str) -> None:
    answer = await rig.ask(method, f"{RESPONSES}/resp_1{tail}")
    assert (answer.status, answer.error["code"]) == (400, "chained_conversation_not_supported")
    item = {"type": "item_reference", "id": "msg_1_0"}
    refused = await rig.post(RESPONSES, body_for(RESPONSES, input=[item]))
    assert (refused.status, refused.error["param"]) == (400, "input[0]")
