"""`/v1/responses` at a server that speaks it itself: untouched, metered, and whole whatever happens to it."""

import msgspec
import pytest

from cortex.config import ModelsConfig, ResponsesConfig
from cortex.dialects import openai_responses
from cortex.dialects.sse import SseParser
from cortex.errors import ConfigError, ContextLengthExceeded, EngineFailed, QueueFull
from tests.fakes.neuron import FakeNeuron
from tests.fakes.server import ANSWER, FakeServer
from tests.gateway.rig import CHAT, RESPONSES, TEXT, Rig, body_for, chat, running

pytestmark = pytest.mark.anyio


def server(name: str = "cloud", *, responses: bool = True, model: str = "theirs") -> FakeServer:
    found = FakeServer(name, responses=responses)
    found.put(model)
    return found


def types(body: bytes) -> list[str]:
    return [msgspec.json.decode(event.data)["type"] for event in SseParser().feed(body)]


def last(body: bytes) -> dict[str, object]:
    found: dict[str, object] = msgspec.json.decode(SseParser().feed(body)[-1].data)
    return found


def is_native(cloud: FakeServer) -> bool:
    return "input" in msgspec.json.decode(cloud.bodies[-1])


async def test_the_bytes_pass_both_ways() -> None:
    cloud = server()
    async with running(cloud) as rig:
        for stream in (False, True):
            raw = b' {"model" : "theirs", "input":"Capital of France?", "stream": %s}' % str(stream).lower().encode()
            answer = await rig.post(RESPONSES, raw)
            assert answer.status == 200
            assert cloud.bodies[-1] == raw
            assert ANSWER.encode() in answer.body
            assert answer.headers["x-cortex-neuron"] == "cloud"
            if stream:
                assert answer.body == streamed(raw)
        await rig.idle()
        assert await rig.metric("cortex_requests_total", model="theirs", neuron="cloud", outcome="ok") == 2
        assert await rig.metric("cortex_prompt_tokens_total", model="theirs") == 14
        assert await rig.metric("cortex_time_to_first_token_seconds_count", model="theirs") == 1


def streamed(raw: bytes) -> bytes:
    """What the server sent."""
    from cortex.dialects.neutral import Ended, TextDelta
    from cortex.types import FinishReason
    from tests.fakes.neuron import Script

    script = Script()
    asked = openai_responses.read_request(openai_responses.parse_request(raw), earlier=())
    encoder = openai_responses.StreamEncoder(asked, id=ANSWER, created=1)
    events = [*map(TextDelta, script.pieces), Ended(FinishReason.STOP, script.usage())]
    return b"".join(encoder.event(event) for event in events)


async def test_an_alias_changes_the_name_alone() -> None:
    cloud = server()
    async with running(cloud, models=ModelsConfig(aliases={"gpt": "theirs"})) as rig:
        assert (await rig.post(RESPONSES, b'{"model": "gpt",  "input": "x"}')).status == 200
        assert cloud.bodies[-1] == b'{"model": "theirs",  "input": "x"}'


async def test_where_another_host_has_it_too_it_is_translated() -> None:
    cloud, beast = server(model="alpha"), FakeNeuron("beast")
    beast.put("alpha")
    async with running(cloud, beast) as rig:
        await rig.sees_loaded("beast", "alpha")
        for _ in range(3):
            assert (await rig.post(RESPONSES, body_for(RESPONSES))).json["output"][0]["content"][0]["text"] == TEXT
        assert all("messages" in msgspec.json.decode(body) for body in (*cloud.bodies, *beast.bodies))
    plain = server(responses=False)
    async with running(plain) as rig:
        assert (await rig.post(RESPONSES, body_for(RESPONSES, "theirs"))).status == 200
        assert not is_native(plain)


async def test_answers_that_are_kept_here_are_made_here() -> None:
    cloud = server()
    async with running(cloud, responses=ResponsesConfig(store=True)) as rig:
        kept = await rig.post(RESPONSES, body_for(RESPONSES, "theirs"))
        assert (kept.status, is_native(cloud), kept.json["store"]) == (200, False, True)
        further = body_for(RESPONSES, "theirs", previous_response_id=kept.json["id"], store=False)
        assert (await rig.post(RESPONSES, further)).status == 200
        assert not is_native(cloud)
        assert (await rig.post(RESPONSES, body_for(RESPONSES, "theirs", store=False))).json["id"] == ANSWER


async def test_what_a_server_keeps_is_gone_on_from_where_there_is_one() -> None:
    further = body_for(RESPONSES, "theirs", previous_response_id=ANSWER)
    cloud = server()
    async with running(cloud) as rig:
        assert (await rig.post(RESPONSES, further)).status == 200
        assert msgspec.json.decode(cloud.bodies[-1])["previous_response_id"] == ANSWER
    async with running(server(), server("other")) as rig:
        refused = await rig.post(RESPONSES, further)
        assert (refused.status, refused.error["param"]) == (400, "previous_response_id")


@pytest.mark.parametrize("stream", [False, True])
async def test_another_server_answers_while_nothing_is_out(stream: bool) -> None:
    """Also after a stream has begun: what comes before the first word waits."""
    one, two = server("one"), server("two")
    one.script("theirs").refuse = EngineFailed("secret")
    if stream:
        one.script("theirs").refuse = None
        one.script("theirs").fail_at = 0
    two.script("theirs").pieces = ("Paris", ".")
    async with running(one, two) as rig:
        for _ in range(4):
            answer = await rig.post(RESPONSES, body_for(RESPONSES, "theirs", stream=stream))
            assert (answer.status, answer.headers["x-cortex-neuron"]) == (200, "two")
            assert b"secret" not in answer.body
        if stream:
            assert types(answer.body).count("response.created") == 1


async def failing(rig: Rig) -> bytes:
    answer = await rig.post(RESPONSES, body_for(RESPONSES, "theirs", stream=True))
    assert answer.status == 200
    return answer.body


async def test_a_stream_that_breaks_ends_in_its_dialect() -> None:
    cloud = server()
    script = cloud.script("theirs")
    async with running(cloud) as rig:
        script.cut_at = 2
        body = await failing(rig)
        ended = last(body)
        assert types(body)[-1] == "response.failed"
        assert ended["response"]["id"] == ANSWER  # type: ignore[index]
        assert ended["response"]["status"] == "failed"  # type: ignore[index]
        assert ended["sequence_number"] == len(types(body)) - 1
        script.cut_at, script.fail_at = None, 2
        body = await failing(rig)
        assert types(body)[-1] == "response.failed"
        assert b"secret" not in body
        await rig.idle()
        assert await rig.metric("cortex_requests_total", model="theirs", outcome="ok") == 0


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ContextLengthExceeded("too long", extras={"prompt_tokens": 9, "limit": 8}), 400, "context_length_exceeded"),
        (QueueFull("full"), 503, QueueFull.code),
    ],
)
async def test_what_it_refuses_is_told(error: Exception, status: int, code: str) -> None:
    cloud = server()
    cloud.script("theirs").refuse = error  # type: ignore[assignment]
    async with running(cloud) as rig:
        answer = await rig.post(RESPONSES, body_for(RESPONSES, "theirs"))
        assert (answer.status, answer.error["code"]) == (status, code)


@pytest.mark.parametrize("nonsense", [b"<html>", b'{"object": "list"}', b'{"object": "response", "status": "failed"}'])
async def test_what_is_no_answer_is_told(nonsense: bytes) -> None:
    cloud = server()
    cloud.script("theirs").nonsense = nonsense
    async with running(cloud) as rig:
        assert (await rig.post(RESPONSES, body_for(RESPONSES, "theirs"))).status == 502
        streamed = await rig.post(RESPONSES, body_for(RESPONSES, "theirs", stream=True))
        assert streamed.status == 502


async def test_a_client_that_leaves_frees_the_server() -> None:
    cloud = server()
    gate = cloud.hold("theirs")
    async with running(cloud) as rig:
        async with rig.open(RESPONSES, body_for(RESPONSES, "theirs", stream=True)) as response:
            assert response.status == 200
            await rig.until(lambda: cloud.running == 1)
        await rig.until(lambda: cloud.cancelled == 1)
        gate.set()
        await rig.idle()


async def test_the_other_dialects_are_as_before() -> None:
    cloud = server()
    async with running(cloud) as rig:
        assert (await rig.post(CHAT, chat("theirs"))).status == 200
        bad = await rig.post(RESPONSES, b'{"model": "theirs"')
        assert (bad.status, bad.error["type"]) == (400, "invalid_request_error")
        assert (await rig.post(RESPONSES, body_for(RESPONSES, "none"))).status == 404


def test_only_servers_that_are_not_ours_are_declared_so() -> None:
    from cortex.config.peers import NeuronPeer, checked_peers

    with pytest.raises(ConfigError, match="responses is for kind"):
        checked_peers([NeuronPeer(name="a", endpoint="http://a:13131", responses=True)], {}, "cortex.toml")
