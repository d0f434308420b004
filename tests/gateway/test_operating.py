"""The commands of an operator against a running gateway: what they print, what they change, what they refuse."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cortex.cli.chat import ChatOptions, run_chat
from cortex.cli.check import run_check
from cortex.cli.models_table import show_models
from cortex.cli.moving import change_duty, change_pin, load_model, unload_model
from cortex.cli.status import show_status
from cortex.cli.top import show_top
from cortex.config import AuthConfig, KeyLimits
from cortex.config.keys import change_keys, new_key
from cortex.errors import ConfigError, CortexError, Forbidden, LoadError, Unauthorized
from tests.fakes.neuron import FakeNeuron
from tests.fakes.server import KEY, FakeServer
from tests.gateway.rig import Rig, running
from tests.gateway.test_reload import Files

pytestmark = pytest.mark.anyio
ASK = ChatOptions(model=None, system="short", max_tokens=5, temperature=0.0)
Out = Callable[[], Any]


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> Out:
    return capsys.readouterr


async def test_a_load_is_shown_to_its_end_and_an_unload_to_its(rig: Rig, out: Out) -> None:
    url = rig.gateway.url
    await asyncio.to_thread(load_model, url, "beta", None, wait=True, as_json=False)
    assert "beta is loaded on beast (41.9 MB)" in out().err
    await asyncio.to_thread(load_model, url, "gamma", "beast", wait=True, as_json=True)
    told = out()
    assert "alpha has to leave beast" in told.err
    assert json.loads(told.out)["status"] == "loaded"
    await asyncio.to_thread(unload_model, url, "beta", "beast", drain_seconds=1.0, as_json=False)
    assert "beta left beast" in out().err
    assert "beta" not in rig.gateway.board.fleet.hosts["beast"].models


async def test_a_load_that_fails_says_why(rig: Rig, beast: FakeNeuron) -> None:
    beast.load_error = LoadError("the file ends at byte 1000")
    with pytest.raises(LoadError, match="ends at byte 1000"):
        await asyncio.to_thread(load_model, rig.gateway.url, "beta", None, wait=True, as_json=False)


async def test_what_the_gateway_refuses_is_said_in_its_words(rig: Rig) -> None:
    with pytest.raises(CortexError, match="no host 'best'"):
        await asyncio.to_thread(load_model, rig.gateway.url, "beta", "best", wait=True, as_json=False)
    with pytest.raises(CortexError, match="did you mean beta"):
        await asyncio.to_thread(load_model, rig.gateway.url, "betta", None, wait=True, as_json=False)


async def test_hosts_and_pins(rig: Rig, out: Out) -> None:
    url = rig.gateway.url
    await asyncio.to_thread(change_pin, url, "alpha", "beast", pin=True, as_json=False)
    assert "pinned by hand on beast" in out().err
    await asyncio.to_thread(change_duty, url, "beast", "drain", wait_seconds=5.0, as_json=False)
    assert "beast is drained, 0 requests" in out().err
    await asyncio.to_thread(change_duty, url, "beast", "uncordon", as_json=True)
    assert json.loads(out().out)["duty"] == "active"


async def test_tables_and_json(rig: Rig, out: Out) -> None:
    url = rig.gateway.url
    await asyncio.to_thread(show_models, url, as_json=False)
    lines = out().out.splitlines()
    assert lines[1].split() == ["alpha", "beast", "-", "4096", "-", "-"]
    assert lines[2].split() == ["beta", "-", "beast", "-", "-", "-"]
    assert any(line.startswith("small = alpha") for line in lines)
    await asyncio.to_thread(show_models, url, as_json=True)
    assert json.loads(out().out)[0]["id"] == "alpha"
    await asyncio.to_thread(show_top, url, every_seconds=1.0, once=True, as_json=False)
    assert "alpha" in out().out


async def test_a_chat_prints_the_answer(rig: Rig, out: Out, beast: FakeNeuron) -> None:
    await asyncio.to_thread(run_chat, rig.gateway.url, "Capital of France?", ASK, as_json=False)
    assert out().out == "The capital of France is Paris.\n"
    asked = json.loads(beast.bodies[-1])
    assert (asked["max_tokens"], [one["role"] for one in asked["messages"]]) == (5, ["system", "user"])
    await asyncio.to_thread(run_chat, rig.gateway.url, "Capital of France?", ASK, as_json=True)
    assert json.loads(out().out)["choices"][0]["message"]["content"].endswith("Paris.")


async def test_a_conversation_remembers_what_was_said(
    rig: Rig, beast: FakeNeuron, out: Out, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    typed = tmp_path / "typed"
    typed.write_text("first\n\nsecond\n")
    with typed.open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        await asyncio.to_thread(run_chat, rig.gateway.url, "", ASK, as_json=False)
    assert out().out.count("Paris") == 2
    said = [one["content"] for one in json.loads(beast.bodies[-1])["messages"]]
    assert said == ["short", "first", "The capital of France is Paris.", "second"]


async def test_which_model_is_asked_when_several_are_loaded(rig: Rig, beast: FakeNeuron) -> None:
    beast.put("beta")
    await rig.sees_loaded("beast", "beta")
    with pytest.raises(ConfigError, match="alpha, beta"):
        await asyncio.to_thread(run_chat, rig.gateway.url, "hello", ASK, as_json=False)


async def test_the_key_comes_from_the_environment_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: Out
) -> None:
    path = tmp_path / "keys.json"
    made = {name: new_key(name, admin=name == "root", limits=KeyLimits(), now=1.0) for name in ("root", "ann")}
    change_keys(path, lambda _: [record for _, record in made.values()])
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("CORTEX_API_KEY", raising=False)
    async with running(FakeNeuron("beast"), auth=AuthConfig(keys_file=str(path))) as rig:
        url = rig.gateway.url
        with pytest.raises(Unauthorized, match="CORTEX_API_KEY"):
            await asyncio.to_thread(show_status, url, as_json=False)
        monkeypatch.setenv("CORTEX_API_KEY", made["ann"][0])
        await asyncio.to_thread(show_status, url, as_json=False)
        assert "beast" in out().out
        with pytest.raises(Forbidden, match="--admin"):
            await asyncio.to_thread(change_duty, url, "beast", "cordon", as_json=False)
        monkeypatch.delenv("CORTEX_API_KEY")
        (tmp_path / "cortex").mkdir()
        (tmp_path / "cortex" / "key").write_text(made["root"][0] + "\n")
        await asyncio.to_thread(change_duty, url, "beast", "cordon", as_json=False)


async def test_a_check_explains_where_each_model_fits(tmp_path: Path, out: Out) -> None:
    beast, quad = FakeNeuron("beast", memory_mb=24_000), FakeNeuron("quad", memory_mb=12_000)
    for neuron in (beast, quad):
        await neuron.start()
    files = Files(tmp_path)
    files.config(beast, quad)
    models = '[[models]]\nid = "large"\nvram_mb = 19000\n[[models]]\nid = "own"\nvram_mb = 10\npinned_on = ["quad"]\n'
    files.write("models.toml", f'{models}[aliases]\nlost = "nothing"\n')
    try:
        await asyncio.to_thread(run_check, tmp_path / "cortex.toml", offline=False, as_json=False)
        told = out()
        assert told.out.splitlines() == [
            "large",
            "  fits on beast: 19.9 GB of 25.2 GB",
            "  not on quad: needs 19.9 GB, has 12.6 GB",
            "own",
            "  not on beast: pinned on quad",
            "  fits on quad: 10.5 MB of 12.6 GB",
        ]
        assert "'lost' stands for 'nothing'" in told.err
        files.write("models.toml", '[[models]]\nid = "huge"\nvram_mb = 90000\n')
        with pytest.raises(SystemExit):
            await asyncio.to_thread(run_check, tmp_path / "cortex.toml", offline=False, as_json=True)
        assert json.loads(out().out)["placement"]["huge"][0]["verdict"] == "too small"
    finally:
        for neuron in (beast, quad):
            await neuron.die()
        await asyncio.sleep(0.01)


async def test_a_check_tells_of_servers_that_are_not_ours(tmp_path: Path, out: Out) -> None:
    beast, cloud = FakeNeuron("beast"), FakeServer("cloud")
    cloud.put("theirs")
    for neuron in (beast, cloud):
        await neuron.start()
    files = Files(tmp_path)
    more = f'kind = "openai"\napi_key = "{KEY}"\n[[neurons]]\nname = "gone"\nendpoint = "http://127.0.0.1:9/v1"\n'
    files.config(beast, cloud, more="")
    text = (tmp_path / "cortex.toml").read_text().replace(cloud.endpoint, cloud.peer().endpoint)
    files.write("cortex.toml", f'{text}{more}kind = "openai"\n')
    files.write("models.toml", '[[models]]\nid = "theirs"\nvram_mb = 90000\n')
    try:
        await asyncio.to_thread(run_check, tmp_path / "cortex.toml", offline=False, as_json=False)
        told = out()
        assert told.out.splitlines()[-6:] == [
            "  loaded on cloud",
            "  not known of gone: it is down",
            f"cloud: a server that is not ours, at {cloud.peer().base}; no lifecycle: nothing is loaded there",
            "  serves theirs, context 2048",
            "gone: a server that is not ours, at http://127.0.0.1:9; no lifecycle: nothing is loaded there",
            "  does not answer",
        ]
        assert "gone does not answer at http://127.0.0.1:9" in told.err
        await asyncio.to_thread(run_check, tmp_path / "cortex.toml", offline=False, as_json=True)
        servers = json.loads(out().out)["servers"]
        assert [(one["host"], one["reachable"], one["lifecycle"]) for one in servers] == [
            ("cloud", True, False),
            ("gone", False, False),
        ]
        assert servers[0]["models"] == [{"id": "theirs", "context_length": 2048}]
        files.write("cortex.toml", f'{text}{more}kind = "openai"\n'.replace(KEY, "wrong"))
        await asyncio.to_thread(run_check, tmp_path / "cortex.toml", offline=False, as_json=False)
        assert "answered 401" in out().err
    finally:
        for neuron in (beast, cloud):
            await neuron.die()
        await asyncio.sleep(0.01)


async def test_a_check_names_every_broken_file(tmp_path: Path, out: Out) -> None:
    files = Files(tmp_path)
    files.write("cortex.toml", '[auth]\n[[neurons]]\nname = "gone"\nendpoint = "http://127.0.0.1:9"\n')
    files.write("models.toml", "[[models]\n")
    files.write("keys.json", "{")
    with pytest.raises(SystemExit):
        await asyncio.to_thread(run_check, tmp_path / "cortex.toml", offline=False, as_json=False)
    told = out().err
    assert "models.toml:1" in told
    assert "keys.json" in told
    assert "gone does not answer" in told
