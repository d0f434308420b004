"""The unmodified SDKs of both vendors against the gateway."""

from collections.abc import AsyncIterator

import anthropic
import openai
import pytest

from tests.fakes.neuron import FakeNeuron
from tests.gateway.rig import TEXT, Rig, message, running, soon

pytestmark = pytest.mark.anyio
ASK = [{"role": "user", "content": "Capital of France?"}]


@pytest.fixture
async def gpt(rig: Rig) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{rig.gateway.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def claude(rig: Rig) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=rig.gateway.url, api_key="none", max_retries=0) as client:
        yield client


async def test_openai_whole(gpt: openai.AsyncOpenAI) -> None:
    answer = await gpt.chat.completions.create(model="alpha", messages=ASK)  # type: ignore[arg-type]
    assert answer.choices[0].message.content == TEXT
    assert answer.usage is not None
    assert answer.usage.total_tokens == 10


async def test_openai_streamed_with_usage(gpt: openai.AsyncOpenAI) -> None:
    stream = await gpt.chat.completions.create(  # type: ignore[call-overload]
        model="small", messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == TEXT
    assert chunks[-1].usage.completion_tokens == 3


async def test_openai_text_completion(gpt: openai.AsyncOpenAI) -> None:
    assert (await gpt.completions.create(model="alpha", prompt="The")).choices[0].text == TEXT
    stream = await gpt.completions.create(model="alpha", prompt="The", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == TEXT


async def test_openai_models(gpt: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in gpt.models.list()] == ["alpha", "beta", "gamma", "small"]
    assert (await gpt.models.retrieve("alpha")).id == "alpha"


async def test_openai_errors(gpt: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        await gpt.chat.completions.create(model="alhpa", messages=ASK)  # type: ignore[arg-type]
    assert missing.value.code == "model_not_found"
    assert "alpha" in missing.value.message
    with pytest.raises(openai.BadRequestError) as wrong:
        await gpt.chat.completions.create(model="alpha", messages=ASK, temperature=9)  # type: ignore[arg-type]
    assert wrong.value.param == "temperature"


async def test_openai_hears_of_a_death_in_mid_stream_as_an_error(gpt: openai.AsyncOpenAI, beast: FakeNeuron) -> None:
    gate = beast.hold("alpha")
    beast.script("alpha").cut_at = 1

    async def read() -> None:
        async for _ in stream:
            gate.set()

    stream = await gpt.chat.completions.create(model="alpha", messages=ASK, stream=True)  # type: ignore[call-overload]
    with pytest.raises(openai.APIError) as caught:
        await read()
    assert not isinstance(caught.value, openai.APIConnectionError)
    assert caught.value.code == "upstream_lost"


async def test_openai_waits_for_a_cold_model_and_its_retries_follow_the_header(beast: FakeNeuron) -> None:
    beast.load_gate.clear()
    async with running(beast, load_wait_secs=0.2) as rig:
        async with openai.AsyncOpenAI(base_url=f"{rig.gateway.url}/v1", api_key="x", max_retries=0) as client:
            with pytest.raises(openai.InternalServerError) as caught:
                await client.chat.completions.create(model="beta", messages=ASK)  # type: ignore[arg-type]
        assert caught.value.code == "model_loading"
        assert caught.value.response.headers["retry-after"] == "3"
        beast.load_gate.set()


async def test_anthropic_whole(claude: anthropic.AsyncAnthropic) -> None:
    answer = await claude.messages.create(**message("claude-haiku-here"))
    assert [block.text for block in answer.content] == [TEXT]  # type: ignore[union-attr]
    assert (answer.stop_reason, answer.usage.output_tokens) == ("end_turn", 3)


async def test_anthropic_streamed(claude: anthropic.AsyncAnthropic) -> None:
    async with claude.messages.stream(**message()) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    assert text == TEXT
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 3)


async def test_anthropic_streams_through_a_cold_load_with_pings(
    claude: anthropic.AsyncAnthropic, beast: FakeNeuron
) -> None:
    beast.load_gate.clear()
    async with claude.messages.stream(**message("beta")) as stream:  # opens with a ping, before the load is over
        beast.load_gate.set()
        assert await soon(stream.get_final_text()) == TEXT


async def test_anthropic_counts_tokens(claude: anthropic.AsyncAnthropic) -> None:
    counted = await claude.messages.count_tokens(model="alpha", messages=ASK)  # type: ignore[arg-type]
    assert counted.input_tokens == 11


async def test_anthropic_models(claude: anthropic.AsyncAnthropic) -> None:
    assert [model.id async for model in claude.models.list()] == ["alpha", "beta", "gamma", "small"]


async def test_both_find_the_id_of_their_request(gpt: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic) -> None:
    answer = await gpt.chat.completions.create(model="alpha", messages=ASK)  # type: ignore[arg-type]
    reply = await claude.messages.create(model="alpha", max_tokens=8, messages=ASK)  # type: ignore[arg-type]
    assert str(answer._request_id).startswith("req_")
    assert str(reply._request_id).startswith("req_")
    with pytest.raises(anthropic.NotFoundError) as missing:
        await claude.messages.create(model="alhpa", max_tokens=8, messages=ASK)  # type: ignore[arg-type]
    assert str(missing.value.request_id).startswith("req_")


async def test_anthropic_errors(claude: anthropic.AsyncAnthropic, beast: FakeNeuron) -> None:
    with pytest.raises(anthropic.NotFoundError, match="alpha"):
        await claude.messages.create(**message("alhpa"))
    gate = beast.hold("alpha")
    beast.script("alpha").cut_at = 1

    async def read() -> None:
        async with claude.messages.stream(**message()) as stream:
            async for _ in stream.text_stream:
                gate.set()

    with pytest.raises(anthropic.APIStatusError) as caught:
        await read()
    assert caught.value.body["error"]["type"] == "api_error"  # type: ignore[index]
