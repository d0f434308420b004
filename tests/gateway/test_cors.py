"""Browsers: which pages may read answers, what is told before a key is looked at; no page gains a right by it."""

from pathlib import Path

import pytest

from cortex.config import AuthConfig, CorsConfig, load_gateway
from cortex.errors import ConfigError
from tests.fakes.neuron import FakeNeuron
from tests.gateway.rig import CHAT, MESSAGES, Answer, Rig, chat, message, running
from tests.gateway.test_access import bearer, with_key
from tests.gateway.test_reload import MODELS, Files, running_from

pytestmark = pytest.mark.anyio
PAGE = "https://chat.example.org"
CORS = CorsConfig(allowed_origins=(PAGE, "app://obsidian.md"), max_age_secs=60)
ASKS = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,x-stainless-os"}


def beast() -> FakeNeuron:
    neuron = FakeNeuron("beast")
    neuron.put("alpha")
    return neuron


def of(answer: Answer) -> dict[str, str]:
    """What it tells browsers."""
    return {name: value for name, value in answer.headers.items() if name.startswith(("access-control", "vary"))}


async def preflight(rig: Rig, origin: str = PAGE, path: str = CHAT, **more: str) -> Answer:
    return await rig.ask("OPTIONS", path, {"origin": origin, **ASKS, **more})


async def test_a_page_asks_first_and_then_with_its_key(tmp_path: Path) -> None:
    auth, key = with_key(tmp_path)
    async with running(beast(), auth=auth, cors=CORS) as rig:
        for path in (CHAT, MESSAGES, "/v1/models", "/none"):
            asked = await preflight(rig, path=path)
            assert (asked.status, asked.body) == (200, b"")
            told = of(asked)
            assert told["access-control-allow-origin"] == PAGE
            assert told["access-control-allow-headers"] == ASKS["access-control-request-headers"]
            assert told["access-control-allow-methods"] == "GET, POST, DELETE"
            assert (told["access-control-max-age"], told["vary"]) == ("60", "origin")
        for stream in (False, True):
            answer = await rig.post(CHAT, chat(stream=stream), {"origin": PAGE, **bearer(key)})
            assert answer.status == 200
            assert of(answer)["access-control-allow-origin"] == PAGE
            assert "x-request-id" in of(answer)["access-control-expose-headers"]
        refused = await rig.post(MESSAGES, message(), {"origin": PAGE})
        assert (refused.status, of(refused)["access-control-allow-origin"]) == (401, PAGE)


async def test_never_with_credentials(tmp_path: Path) -> None:
    auth, key = with_key(tmp_path)
    for origins in ((PAGE,), ("*",), ("*", PAGE)):
        async with running(beast(), auth=auth, cors=CorsConfig(allowed_origins=origins)) as rig:
            answers = [await preflight(rig), await rig.post(CHAT, chat(), {"origin": PAGE, **bearer(key)})]
            for answer in answers:
                assert of(answer)["access-control-allow-origin"] == ("*" if "*" in origins else PAGE)
                assert "access-control-allow-credentials" not in answer.headers


async def test_nobody_else_is_told_anything(tmp_path: Path) -> None:
    auth, key = with_key(tmp_path)
    async with running(beast(), auth=auth, cors=CORS) as rig:
        for origin in ("https://other.example.org", f"{PAGE}.evil.example", "null", "http://chat.example.org"):
            assert (await preflight(rig, origin)).status == 401
            assert of(await rig.post(CHAT, chat(), {"origin": origin, **bearer(key)})) == {"vary": "origin"}
        assert of(await rig.post(CHAT, chat(), bearer(key))) == {"vary": "origin"}
    async with running(beast(), auth=auth) as rig:
        assert (await preflight(rig)).status == 401
        assert of(await rig.post(CHAT, chat(), {"origin": PAGE, **bearer(key)})) == {}


async def test_the_question_is_no_way_around_the_key(tmp_path: Path) -> None:
    """Only OPTIONS that ask are answered so; names that are no header names are not echoed."""
    auth, _ = with_key(tmp_path)
    async with running(beast(), auth=auth, cors=CORS) as rig:
        assert (await rig.ask("OPTIONS", CHAT, {"origin": PAGE})).status == 401
        assert (await rig.ask("GET", "/v1/models", {"origin": PAGE, **ASKS})).status == 401
        for names in ("a b", "a, ,b", "x" * 5000):
            asked = await rig.ask("OPTIONS", CHAT, {"origin": PAGE, **ASKS, "access-control-request-headers": names})
            assert "access-control-allow-headers" not in asked.headers


async def test_what_changes_the_fleet_is_not_opened_to_pages(tmp_path: Path) -> None:
    auth, key = with_key(tmp_path, admin=True)
    path = "/api/admin/hosts/beast/cordon"
    async with running(beast(), auth=auth, cors=CORS) as rig:
        for one in (path, "/api/%61dmin/hosts/beast/cordon"):
            asked = await preflight(rig, path=one)
            assert asked.status == 401
            assert "access-control-allow-origin" not in asked.headers
        answer = await rig.post(path, b"{}", {"origin": PAGE, **bearer(key)})
        assert (answer.status, "access-control-allow-origin" in answer.headers) == (200, False)


async def test_a_private_address_is_opened_to_listed_pages_only(tmp_path: Path) -> None:
    auth, _ = with_key(tmp_path)
    header = "access-control-request-private-network"
    for origins, told in (((PAGE,), "true"), (("*",), None)):
        async with running(beast(), auth=auth, cors=CorsConfig(allowed_origins=origins)) as rig:
            asked = await preflight(rig, **{header: "true"})
            assert asked.headers.get("access-control-allow-private-network") == told


async def test_without_a_key_reading_is_no_leave_to_ask() -> None:
    """A page of `[cors]` still has to be one of `auth.allowed_origins` where no key is asked for; those may read too.
    A name that a page lets point here stays unknown, whatever origin it says."""
    auth = AuthConfig(mode="open", allowed_origins=("https://wiki.example.org",))
    async with running(beast(), auth=auth, cors=CORS) as rig:
        refused = await rig.post(CHAT, chat(), {"origin": PAGE})
        assert (refused.status, of(refused)["access-control-allow-origin"]) == (403, PAGE)
        allowed = await rig.post(CHAT, chat(), {"origin": "https://wiki.example.org"})
        assert (allowed.status, of(allowed)["access-control-allow-origin"]) == (200, "https://wiki.example.org")
        rebound = await rig.post(CHAT, chat(), {"origin": "https://wiki.example.org", "host": "evil.example"})
        assert rebound.status == 403


async def test_rules_change_while_it_runs(tmp_path: Path) -> None:
    files = Files(tmp_path)
    neuron = beast()
    await neuron.start()
    files.config(neuron)
    files.write("models.toml", MODELS)
    try:
        async with running_from(files) as rig:
            assert (await preflight(rig)).status == 403
            files.config(neuron, more=f'[cors]\nallowed_origins = ["{PAGE}"]\n')
            await rig.until(lambda: bool(rig.gateway._files.config.cors.allowed_origins))
            assert (await preflight(rig)).status == 200
            files.config(neuron, more='[cors]\nallowed_origins = ["chat.example.org/"]\n')
            await rig.until(lambda: any("allowed_origins" in text for text in rig.gateway.warnings))
            assert (await preflight(rig)).status == 200
    finally:
        await neuron.die()


def test_what_is_no_origin_is_refused(tmp_path: Path) -> None:
    files = Files(tmp_path)
    for text in ("chat.example.org", "https://chat.example.org/", "https://*.example.org", "null"):
        files.write("cortex.toml", f'[cors]\nallowed_origins = ["{text}"]\n')
        with pytest.raises(ConfigError, match="allowed_origins"):
            load_gateway(tmp_path / "cortex.toml", {})
