"""What a caller may do wrong: a clean status in the caller's dialect that says what to do."""

from typing import Any

import msgspec
import pytest

from tests.fakes.neuron import FakeNeuron
from tests.gateway.rig import CHAT, COMPLETIONS, MESSAGES, RESPONSES, Answer, Rig, body_for, chat, message, running

pytestmark = pytest.mark.anyio
COUNT = f"{MESSAGES}/count_tokens"
ALL = (CHAT, COMPLETIONS, MESSAGES, RESPONSES, COUNT)


def checked(answer: Answer, path: str) -> dict[str, Any]:
    """The error object, once its envelope proved to be the dialect's."""
    body = answer.json
    assert answer.headers["content-type"] == "application/json"
    if path.startswith(MESSAGES):
        assert body["type"] == "error"
        assert set(body["error"]) == {"type", "message"}
        assert body["request_id"] == answer.headers["x-request-id"]
    else:
        assert {"message", "type", "param", "code"} <= set(body["error"])
    error: dict[str, Any] = body["error"]
    return error


@pytest.mark.parametrize("path", ALL)
@pytest.mark.parametrize("body", [b"", b"{", b'{"model": "alpha",}', b"\xff\xfe", b"[]", b"null", b"[" * 100_000])
async def test_what_is_no_json_object_is_400(rig: Rig, beast: FakeNeuron, path: str, body: bytes) -> None:
    answer = await rig.post(path, body)
    assert answer.status == 400
    assert checked(answer, path)["type"] == "invalid_request_error"
    assert beast.bodies == []


@pytest.mark.parametrize("path", ALL)
async def test_a_missing_model_is_named(rig: Rig, path: str) -> None:
    answer = await rig.post(path, {key: value for key, value in body_for(path).items() if key != "model"})
    assert answer.status == 400
    assert "`model`" in checked(answer, path)["message"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT, chat(temperature="hot"), "temperature"),
        (CHAT, chat(stream="yes"), "stream"),
        (CHAT, {"model": "alpha", "messages": "hello"}, "messages"),
        (CHAT, {"model": 7, "messages": []}, "model"),
        (CHAT, chat(max_tokens=-1), "max_tokens"),
        (COMPLETIONS, {"model": "alpha", "prompt": {"a": 1}}, "prompt"),
        (RESPONSES, {"model": "alpha", "input": 7}, "input"),
        (RESPONSES, {"model": "alpha", "input": "x", "top_p": 2}, "top_p"),
        (MESSAGES, message(max_tokens="many"), "max_tokens"),
        (MESSAGES, {**message(), "messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    ],
)
@pytest.mark.parametrize("model", ["alpha", "beta"])
async def test_wrong_types_are_400_and_name_the_field(
    rig: Rig, beast: FakeNeuron, model: str, path: str, body: dict[str, Any], param: str
) -> None:
    """Loaded or not: a body that is wrong starts no load."""
    if body["model"] == "alpha":
        body = {**body, "model": model}
    answer = await rig.post(path, body)
    assert answer.status == 400
    assert param in checked(answer, path)["message"]
    if path != MESSAGES:
        assert answer.error["param"] == param
    assert beast.loads == []


async def test_max_tokens_is_required_in_anthropics_dialect(rig: Rig) -> None:
    answer = await rig.post(MESSAGES, chat())
    assert (answer.status, "max_tokens" in answer.error["message"]) == (400, True)


async def test_an_unknown_field_is_refused_by_name(rig: Rig) -> None:
    answer = await rig.post(CHAT, chat("beta", frobnicate=1))
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "unsupported_parameter", "frobnicate")


@pytest.mark.parametrize("path", ALL)
async def test_an_unknown_model_is_404_with_near_names(rig: Rig, path: str) -> None:
    answer = await rig.post(path, body_for(path, "alpah"))
    assert answer.status == 404
    assert "alpha" in checked(answer, path)["message"]
    if not path.startswith(MESSAGES):
        assert (answer.error["code"], answer.error["nearest"][0]) == ("model_not_found", "alpha")
    await rig.idle()
    assert await rig.metric("cortex_requests_total", model="unknown", outcome="model_not_found") == 1


@pytest.mark.parametrize("path", ALL)
async def test_a_body_over_the_limit_is_413(beast: FakeNeuron, path: str) -> None:
    async with running(beast, max_body_bytes=1000) as rig:
        answer = await rig.post(path, message(system="x" * 1000))
        assert answer.status == 413
        error = checked(answer, path)
        assert "1000 bytes" in error["message"]
        if path.startswith(MESSAGES):
            assert error["type"] == "request_too_large"


@pytest.mark.parametrize("path", ALL)
async def test_a_wrong_method_is_405_and_says_which(rig: Rig, path: str) -> None:
    answer = await rig.ask("GET", path)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert "POST" in checked(answer, path)["message"]


async def test_an_unknown_path_is_404_in_the_dialect(rig: Rig) -> None:
    assert (await rig.ask("GET", "/v2/chat")).error["code"] == "route_not_found"
    answer = await rig.ask("GET", "/v1/messages/batches", {"anthropic-version": "2023-06-01"})
    assert (answer.status, answer.error["type"]) == (404, "not_found_error")


async def test_a_top_level_field_twice_is_refused_when_it_would_be_replaced(rig: Rig, beast: FakeNeuron) -> None:
    body = msgspec.json.encode(chat("small"))[:-1] + b',"model":"beta"}'
    answer = await rig.post(CHAT, body.replace(b"beta", b"small"))
    assert (answer.status, answer.error["code"]) == (400, "invalid_value")
    assert beast.bodies == []


async def test_a_public_address_is_refused(rig: Rig) -> None:
    from cortex.http import is_near

    near = ("127.0.0.1", "::1", "10.1.2.3", "192.168.0.9", "100.64.1.1", "fe80::1%eth0", "::ffff:10.0.0.1", "fd00::1")
    far = ("8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "", None, "nonsense")
    assert all(is_near(address) for address in near)
    assert not any(is_near(address) for address in far)
