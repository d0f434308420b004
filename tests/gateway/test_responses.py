"""`/v1/responses` by translation: whole and streamed, with tools, failures and a cold load; with the vendor's SDK."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import openai
import pytest

from cortex.dialects.logprobs import TokenLogprob, TopLogprob
from cortex.dialects.neutral import ReasoningDelta, TextDelta, ToolCallDelta
from cortex.errors import ContextLengthExceeded
from cortex.types import FinishReason
from tests.fakes.neuron import FakeNeuron
from tests.gateway.rig import RESPONSES, TEXT, Rig, body_for, running, soon
from tests.unit.dialects.wire import payloads, rules_of

pytestmark = pytest.mark.anyio
TOOLS: list[Any] = [
    {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}},
    {"type": "namespace", "name": "team", "description": "t", "tools": [{"type": "function", "name": "ask"}]},
    {"type": "web_search"},
]


@pytest.fixture
async def gpt(rig: Rig) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{rig.gateway.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def ask(**more: Any) -> dict[str, Any]:
    return body_for(RESPONSES, **more)


async def test_a_whole_answer(rig: Rig, beast: FakeNeuron) -> None:
    answer = await rig.post(RESPONSES, {**ask(instructions="Be brief.", max_output_tokens=9), "model": "small"})
    body = answer.json
    assert (answer.status, body["object"], body["status"], body["model"]) == (200, "response", "completed", "small")
    assert body["output"][0]["content"][0]["text"] == TEXT
    assert body["usage"]["total_tokens"] == 10
    asked = msgspec.json.decode(beast.bodies[0])
    assert asked["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (asked["model"], asked["max_tokens"]) == ("alpha", 9)
    await rig.idle()
    assert await rig.metric("cortex_requests_total", api="responses", outcome="ok") == 1
    assert await rig.metric("cortex_completion_tokens_total", model="alpha") == 3


async def test_a_stream_keeps_the_rules(rig: Rig) -> None:
    answer = await rig.post(RESPONSES, ask(stream=True))
    assert answer.headers["content-type"] == "text/event-stream"
    assert rules_of("openai_responses")(answer.body) == []
    assert payloads(answer.body)[-1]["response"]["output"][0]["content"][0]["text"] == TEXT
    await rig.idle()
    assert await rig.metric("cortex_time_to_first_token_seconds_count", api="responses") == 1


async def test_the_sdk_reads_whole_answers(gpt: openai.AsyncOpenAI) -> None:
    answer = await gpt.responses.create(model="alpha", input="Capital of France?")
    assert (answer.output_text, answer.status) == (TEXT, "completed")
    assert answer.usage is not None
    assert answer.usage.input_tokens_details.cached_tokens == 2


async def test_the_sdk_reads_streams(gpt: openai.AsyncOpenAI) -> None:
    async with gpt.responses.stream(model="alpha", input="Capital of France?") as stream:
        text = "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])
        final = await stream.get_final_response()
    assert text == final.output_text == TEXT


async def test_the_sdk_reads_calls_and_thinking(gpt: openai.AsyncOpenAI, beast: FakeNeuron) -> None:
    beast.script("alpha").says = (
        ReasoningDelta("Hm."),
        ToolCallDelta(0, "call_a", "look", "{}"),
        ToolCallDelta(1, "call_b", "team__ask", '{"q":1}'),
    )
    async with gpt.responses.stream(model="alpha", input="x", tools=TOOLS, reasoning={"summary": "auto"}) as stream:
        final = await stream.get_final_response()
    thought, look, team = final.output
    assert (thought.type, look.type, team.type) == ("reasoning", "function_call", "function_call")
    assert thought.summary[0].text == "Hm."  # type: ignore[union-attr]
    assert (team.name, team.namespace, team.call_id) == ("ask", "team", "call_b")  # type: ignore[union-attr]
    sent = msgspec.json.decode(beast.bodies[0])["tools"]
    assert [tool["function"]["name"] for tool in sent] == ["look", "team__ask"]


async def test_the_sdk_parses_a_schema(gpt: openai.AsyncOpenAI, beast: FakeNeuron) -> None:
    class City(openai.BaseModel):
        city: str

    beast.script("alpha").pieces = ('{"city":', '"Paris"}')
    answer = await gpt.responses.parse(model="alpha", input="x", text_format=City)
    assert answer.output_parsed == City(city="Paris")
    sent = msgspec.json.decode(beast.bodies[0])["response_format"]
    assert (sent["type"], sent["json_schema"]["name"]) == ("json_schema", "City")


async def test_log_probabilities_come_through(gpt: openai.AsyncOpenAI, beast: FakeNeuron) -> None:
    entry = TokenLogprob("Paris", -0.25, tuple(b"Paris"), (TopLogprob("Paris", -0.25, tuple(b"Paris")),))
    beast.script("alpha").says = (TextDelta("Paris", logprobs=(entry,)),)
    whole = await gpt.responses.create(model="alpha", input="x", top_logprobs=1)
    async with gpt.responses.stream(model="alpha", input="x", top_logprobs=1) as stream:
        streamed = await stream.get_final_response()
    for answer in (whole, streamed):
        part = answer.output[0].content[0]  # type: ignore[union-attr, index]
        assert [(one.token, one.logprob, one.top_logprobs[0].token) for one in part.logprobs] == [  # type: ignore[union-attr]
            ("Paris", -0.25, "Paris")
        ]
    sent = msgspec.json.decode(beast.bodies[0])
    assert (sent["logprobs"], sent["top_logprobs"]) == (True, 1)


async def test_the_sdk_counts_tokens(gpt: openai.AsyncOpenAI, rig: Rig, beast: FakeNeuron) -> None:
    counted = await gpt.responses.input_tokens.count(model="alpha", input="Capital of France?", tools=TOOLS)
    assert counted.input_tokens == 11 + 2 * 100
    cold = await rig.post(f"{RESPONSES}/input_tokens", ask() | {"model": "beta"})
    assert cold.headers["x-cortex-estimate"] == "true"
    assert beast.loads == []


async def test_old_turns_are_left_out_where_the_client_wants_that(rig: Rig, beast: FakeNeuron) -> None:
    """The scripted host counts bytes of the prompt when told to; its context is 4096."""
    beast.counts_bytes = True
    turns = [{"role": role, "content": f"{number} " * 200} for number in range(9) for role in ("user", "assistant")]
    talk = [{"role": "developer", "content": "Rules."}, *turns, {"role": "user", "content": "And now?"}]
    answer = await rig.post(RESPONSES, ask(input=talk, truncation="auto"))
    assert (answer.status, answer.json["truncation"]) == (200, "auto")
    sent = msgspec.json.decode(beast.bodies[-1])["messages"]
    assert [sent[0]["content"], sent[-1]["content"]] == ["Rules.", "And now?"]
    assert sent[1]["role"] == "user"
    assert 3 < len(sent) < len(talk)
    whole = await rig.post(RESPONSES, ask(input=talk[-3:], truncation="auto"))
    assert (whole.status, len(msgspec.json.decode(beast.bodies[-1])["messages"])) == (200, 3)


async def test_an_answer_that_was_cut_says_so(gpt: openai.AsyncOpenAI, beast: FakeNeuron) -> None:
    beast.script("alpha").reason = FinishReason.LENGTH
    answer = await gpt.responses.create(model="alpha", input="x", max_output_tokens=3)
    assert answer.incomplete_details is not None
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")


async def test_what_was_ignored_is_named_with_what_the_host_ignored(rig: Rig) -> None:
    answer = await rig.post(RESPONSES, ask(tools=TOOLS, service_tier="auto", user="u"))
    assert answer.headers["x-cortex-ignored"] == "service_tier, tools.web_search, user"


async def test_going_on_from_an_earlier_answer_is_refused_where_none_are_kept(gpt: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await gpt.responses.create(model="alpha", input="x", previous_response_id="resp_1")
    assert (caught.value.code, caught.value.param) == ("chained_conversation_not_supported", "previous_response_id")


async def test_a_stream_that_breaks_ends_with_failed(rig: Rig, beast: FakeNeuron) -> None:
    beast.script("alpha").cut_at = 1
    gate = beast.hold("alpha")
    stream = b""
    async with rig.open(RESPONSES, ask(stream=True)) as response:
        async for chunk in response.chunks():
            stream += chunk
            gate.set()
    assert rules_of("openai_responses")(stream) == []
    last = payloads(stream)[-1]
    assert (last["type"], last["response"]["error"]["code"]) == ("response.failed", "server_error")
    await rig.idle()
    assert await rig.metric("cortex_requests_total", api="responses", outcome="upstream_lost") == 1


async def test_a_failure_after_keep_alives_is_a_whole_stream_that_failed(beast: FakeNeuron) -> None:
    beast.load_gate.clear()
    beast.script("beta").refuse = ContextLengthExceeded("Too long.", extras={"prompt_tokens": 9, "limit": 4})
    async with running(beast, keep_alive_secs=0.1) as rig:
        stream = b""
        async with rig.open(RESPONSES, {**ask(stream=True), "model": "beta"}) as response:
            async for chunk in response.chunks():
                stream += chunk
                beast.load_gate.set()
        assert stream.startswith(b": keep-alive\n\n")
        assert rules_of("openai_responses")(stream) == []
        assert payloads(stream)[-1]["response"]["error"]["code"] == "context_length_exceeded"


async def test_another_host_begins_anew_without_a_trace(beast: FakeNeuron) -> None:
    other = FakeNeuron("other")
    other.put("alpha")
    async with running(beast, other) as rig:
        await rig.sees_loaded("beast", "alpha")
        await rig.sees_loaded("other", "alpha")
        for neuron in (beast, other):
            neuron.script("alpha").cut_at = 0
        first = await soon(rig.post(RESPONSES, ask(stream=True)))
        assert first.status == 502
        other.script("alpha").cut_at = None
        await rig.sees_loaded("other", "alpha")
        stream = (await rig.post(RESPONSES, ask(stream=True))).body
        assert rules_of("openai_responses")(stream) == []
        assert payloads(stream)[-1]["type"] == "response.completed"
