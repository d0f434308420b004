"""Who is answered: keys, limits, private networks, web pages, the token of the hosts; every route of both daemons."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from cortex.config import AuthConfig, KeyLimits, NeuronAuthConfig
from cortex.config.keys import KeyRecord, change_keys, new_key
from cortex.config.secrets import write_private
from tests.fakes.neuron import FakeNeuron
from tests.fakes.server import FakeServer
from tests.gateway.rig import CHAT, MESSAGES, Rig, chat, message, running
from tests.neuron.rig import running as host_running

pytestmark = pytest.mark.anyio
TOKEN = "a-token-of-gateway-and-hosts"
PUBLIC = {"x-forwarded-for": "8.8.8.8"}


def beast() -> FakeNeuron:
    neuron = FakeNeuron("beast")
    neuron.put("alpha")
    return neuron


def with_key(
    folder: Path, *, admin: bool = False, limits: KeyLimits | None = None, **more: Any
) -> tuple[AuthConfig, str]:
    """`[auth]` with a file of one key, and the key."""
    path = folder / "keys.json"
    text, record = new_key("ann", admin=admin, limits=limits or KeyLimits(), now=1.0)

    def alone(_: tuple[KeyRecord, ...]) -> list[KeyRecord]:
        return [record]

    change_keys(path, alone)
    return AuthConfig(keys_file=str(path), **more), text


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def test_a_key_is_taken_under_both_headers_and_shown_by_its_label_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    auth, key = with_key(tmp_path)
    caplog.set_level("INFO")
    async with running(beast(), auth=auth) as rig:
        await rig.sees_loaded("beast", "alpha")
        assert (await rig.post(CHAT, chat(), bearer(key))).status == 200
        assert (await rig.post(MESSAGES, message(), {"x-api-key": key})).status == 200
        assert await rig.metric("cortex_key_requests_total", key="ann", outcome="ok") == 2
        assert await rig.metric("cortex_key_prompt_tokens_total", key="ann") == 14
    assert key not in caplog.text
    assert any(getattr(record, "fields", {}).get("key") == "ann" for record in caplog.records)


@pytest.mark.parametrize(
    "headers", [{}, bearer("sk-cortex-0-0"), {"x-api-key": "none"}, {"authorization": "Basic eA=="}]
)
async def test_without_a_valid_key_the_answer_is_401_in_the_callers_dialect(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    auth, _ = with_key(tmp_path)
    async with running(beast(), auth=auth) as rig:
        for path, body in ((CHAT, chat()), (MESSAGES, message())):
            answer = await rig.post(path, body, headers)
            assert (answer.status, answer.error["type"]) == (401, "authentication_error")


async def test_keys_share_no_cached_beginnings_unless_told_so(tmp_path: Path) -> None:
    header = "x-cortex-cache-salt"
    path = tmp_path / "keys.json"
    made = [new_key(name, admin=False, limits=KeyLimits(), now=1.0) for name in ("ann", "bob")]
    change_keys(path, lambda _: [record for _, record in made])
    for shared in (False, True):
        neuron, cloud = beast(), FakeServer("cloud")
        cloud.put("theirs")
        async with running(neuron, cloud, auth=AuthConfig(keys_file=str(path), shared_cache=shared)) as rig:
            await rig.sees_loaded("beast", "alpha")
            for key in (made[0][0], made[1][0], made[0][0]):
                assert (await rig.post(CHAT, chat(), {**bearer(key), header: "of the client"})).status == 200
            assert (await rig.post(CHAT, chat("theirs"), bearer(made[0][0]))).status == 200
            ann, bob, again = [asked.get(header) for asked in neuron.headers]
            assert header not in cloud.headers[-1]
            if shared:
                assert ann is bob is again is None
            else:
                assert ann == again != bob
                assert ann is not None
                assert made[0][1].id not in ann
    async with running(neuron := beast()) as rig:
        await rig.sees_loaded("beast", "alpha")
        assert (await rig.post(CHAT, chat(), {header: "of the client"})).status == 200
        assert header not in neuron.headers[-1]


async def walk(rig: Any, routes: list[tuple[str, str]], headers: dict[str, str]) -> dict[tuple[str, str], int]:
    """The status of every route, and of a path that is none."""
    found = {}
    for method, pattern in [*routes, ("GET", "/none"), ("DELETE", "/health"), ("OPTIONS", "/v1/models")]:
        path = re.sub(r"[:*]\w+", "x", pattern)
        body = b"{}" if method in ("POST", "PUT") else None
        async with asyncio.timeout(10), rig.client.open(method, path, headers=headers, body=body) as answer:
            found[method, pattern] = answer.status
            if answer.status == 200:
                assert await answer.read(100) == b'{"status":"ok"}', pattern
    return found


class At:
    """A client whose paths are those of one daemon."""

    def __init__(self, client: Any, base: str) -> None:
        self.client = self
        self._client, self._base = client, base

    def open(self, method: str, path: str, **more: Any) -> Any:
        return self._client.open(method, self._base + path, **more)


@pytest.mark.parametrize("headers", [{}, bearer("wrong"), {"x-api-key": TOKEN}])
async def test_no_route_of_either_daemon_is_open_but_the_liveness_probe(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    auth, _ = with_key(tmp_path)
    write_private(tmp_path / "token", TOKEN.encode())
    token = NeuronAuthConfig(token_file=str(tmp_path / "token"))
    async with running(beast(), auth=auth) as rig, host_running(tmp_path, auth=token) as host:
        for app, base in ((rig.gateway.app, rig.gateway.url), (host.neuron.app, host.neuron.url)):
            routes = app.routes()
            assert len(routes) > 9
            found = await walk(At(rig.client, base), routes, headers)
            assert {route for route, status in found.items() if status != 401} == {("GET", "/health")}


async def test_the_gateway_shows_hosts_the_token_and_clients_nothing_of_it(tmp_path: Path) -> None:
    neuron = beast()
    async with running(neuron, token=TOKEN) as rig:
        await rig.sees_loaded("beast", "alpha")
        answer = await rig.post(CHAT, chat(), {"authorization": "Bearer of-a-client", "x-cortex-account": "root"})
        assert answer.status == 200
        assert neuron.headers[-1]["authorization"] == f"Bearer {TOKEN}"
        assert not {"x-api-key", "x-cortex-account"} & neuron.headers[-1].keys()


async def test_limits_are_429_with_a_pause_in_both_dialects(tmp_path: Path) -> None:
    auth, key = with_key(tmp_path, limits=KeyLimits(requests_per_minute=1))
    async with running(beast(), auth=auth) as rig:
        await rig.sees_loaded("beast", "alpha")
        assert (await rig.post(CHAT, chat(), bearer(key))).status == 200
        for path, body in ((CHAT, chat(stream=True)), (MESSAGES, message(stream=True))):
            answer = await rig.post(path, body, bearer(key))
            assert (answer.status, answer.error["type"]) == (429, "rate_limit_error")
            assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert await rig.metric("cortex_key_requests_total", key="ann", outcome="rate_limit_exceeded") == 2
        await rig.idle()
        assert await rig.metric("cortex_requests_in_flight") == 0


async def test_requests_at_once_are_given_back_by_a_client_that_left(tmp_path: Path) -> None:
    auth, key = with_key(tmp_path, limits=KeyLimits(concurrent=1))
    neuron = beast()
    neuron.hold("alpha")
    async with running(neuron, auth=auth) as rig:
        await rig.sees_loaded("beast", "alpha")
        async with rig.open(CHAT, chat(stream=True), bearer(key)) as response:
            assert response.status == 200
            assert (await rig.post(CHAT, chat(), bearer(key))).status == 429
        neuron.script("alpha").gate.set()
        await rig.idle()
        assert (await rig.post(CHAT, chat(), bearer(key))).status == 200


async def test_without_auth_private_networks_are_answered_and_operators_are_told(rig: Rig) -> None:
    assert (await rig.post(CHAT, chat(), bearer("any"))).status == 200
    refused = await rig.post(CHAT, chat(), PUBLIC)
    assert (refused.status, "[auth]" in refused.error["message"]) == (401, True)
    for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}):
        assert (await rig.post(CHAT, chat(), headers)).status == 403
        assert (await rig.ask("GET", "/api/fleet", headers)).status == 403


async def test_open_answers_everybody_but_pages_of_others() -> None:
    async with running(beast(), auth=AuthConfig(mode="open")) as rig:
        await rig.sees_loaded("beast", "alpha")
        assert (await rig.post(CHAT, chat(), PUBLIC)).status == 200
        assert (await rig.post(CHAT, chat(), {"host": "evil.example"})).status == 403
        warnings = (await rig.ask("GET", "/api/fleet")).json["warnings"]
        assert any('"open"' in warning for warning in warnings)


async def test_a_listed_proxy_is_believed(tmp_path: Path) -> None:
    auth = AuthConfig(mode="open", trusted_proxies=("127.0.0.0/8",), limits=KeyLimits(requests_per_minute=1))
    async with running(beast(), auth=auth) as rig:
        await rig.sees_loaded("beast", "alpha")
        for address in ("8.8.8.8", "9.9.9.9"):
            answers = [await rig.post(CHAT, chat(), {"x-forwarded-for": address}) for _ in range(2)]
            assert [answer.status for answer in answers] == [200, 429]
