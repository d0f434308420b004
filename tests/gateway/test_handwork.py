"""What operators do by hand: a restart finds it again, and says so where it cannot."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from cortex.cli.check import run_check
from cortex.cli.status import show_status
from cortex.config.handwork import Handwork, Pin, read_handwork
from cortex.errors import ConfigError
from cortex.fleet.state import Duty
from tests.fakes.neuron import FakeNeuron
from tests.gateway.rig import CHAT, Rig, chat, running
from tests.gateway.test_reload import MODELS, Files, running_from

pytestmark = pytest.mark.anyio
PIN, UNPIN = "/api/admin/models/pin", "/api/admin/models/unpin"


async def by_hand(rig: Rig, path: str, **body: Any) -> Any:
    answer = await rig.post(path, body)
    assert answer.status == 200, answer.body
    return answer.json


async def test_a_restart_finds_pins_and_duties_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "handwork.json"
    neurons = [FakeNeuron(name) for name in ("beast", "quad", "small")]
    async with running(*neurons, state_file=str(file)) as rig:
        assert not file.exists()
        assert (await by_hand(rig, PIN, model="small", host="beast"))["kept"] is True
        assert (await by_hand(rig, PIN, model="beta", host="quad"))["kept"] is True
        assert (await by_hand(rig, UNPIN, model="beta", host="quad"))["pinned_on"] == []
        assert (await by_hand(rig, "/api/admin/hosts/beast/cordon"))["kept"] is True
        assert (await by_hand(rig, "/api/admin/hosts/quad/drain"))["duty"] == "drained"
        assert not rig.gateway.warnings
    work = Handwork(pins=(Pin(model="alpha", host="beast"),), duties={"beast": "cordoned", "quad": "drained"})
    assert read_handwork(file) == work
    assert file.stat().st_mode & 0o777 == 0o640
    again = [FakeNeuron(name) for name in ("beast", "quad", "small")]
    async with running(*again, state_file=str(file)) as rig:
        hosts = rig.gateway.board.fleet.hosts
        assert [hosts[name].duty for name in ("beast", "quad", "small")] == [Duty.CORDONED, Duty.DRAINED, Duty.ACTIVE]
        assert rig.gateway.board.fleet.pins == {("alpha", "beast")}
        assert (await rig.post(CHAT, chat("beta"))).headers["x-cortex-neuron"] == "small"
        again[0].put("alpha")
        await rig.sees_loaded("beast", "alpha")
        await asyncio.to_thread(show_status, rig.gateway.url, as_json=False)
        rows = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert ["beast", "up,", "cordoned"] in [row[:3] for row in rows]
        assert ["alpha", "loaded,", "pinned", "beast"] in [row[:4] for row in rows]
        await by_hand(rig, "/api/admin/hosts/quad/uncordon")
    assert read_handwork(file).duties == {"beast": "cordoned"}


async def test_hosts_that_are_not_listed_any_more_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "handwork.json"
    file.write_text('{"pins": [{"model": "alpha", "host": "gone"}], "duties": {"gone": "drained", "beast": "drained"}}')
    async with running(FakeNeuron("beast"), state_file=str(file)) as rig:
        assert rig.gateway.board.fleet.hosts["beast"].duty is Duty.DRAINED
        assert not rig.gateway.board.fleet.pins


async def test_a_host_that_leaves_takes_its_handwork_with_it(tmp_path: Path) -> None:
    beast, quad = FakeNeuron("beast"), FakeNeuron("quad")
    files, more = Files(tmp_path), 'state_file = "handwork.json"\n'
    try:
        for neuron in (beast, quad):
            await neuron.start()
        files.config(beast, quad, more=more)
        files.write("models.toml", MODELS)
        async with running_from(files) as rig:
            for name in ("beast", "quad"):
                await by_hand(rig, f"/api/admin/hosts/{name}/cordon")
            files.config(quad, more=more)
            await rig.sees(lambda fleet: "beast" not in fleet.hosts)
        assert read_handwork(tmp_path / "handwork.json").duties == {"quad": "cordoned"}
    finally:
        for neuron in (beast, quad):
            await neuron.die()
        await asyncio.sleep(0.01)


async def test_without_a_file_that_is_told() -> None:
    async with running(FakeNeuron("beast")) as rig:
        assert not rig.gateway.warnings
        assert (await by_hand(rig, PIN, model="alpha", host="beast"))["kept"] is False
        assert "gateway.state_file" in rig.gateway.warnings[0]


async def test_a_file_that_cannot_be_written_is_told_and_the_work_is_done(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    async with running(FakeNeuron("beast"), state_file=str(folder / "handwork.json")) as rig:
        told = await by_hand(rig, "/api/admin/hosts/beast/cordon")
        assert (told["duty"], told["kept"]) == ("cordoned", False)
        assert "a restart forgets" in (await rig.ask("GET", "/api/fleet")).json["warnings"][0]
        folder.mkdir()
        assert (await by_hand(rig, "/api/admin/hosts/beast/cordon"))["kept"] is True
        assert not rig.gateway.warnings


@pytest.mark.parametrize("text", ["{", '{"pins": 1}', '{"duties": {"beast": "asleep"}}'])
async def test_a_broken_file_stops_the_start(tmp_path: Path, text: str) -> None:
    file = tmp_path / "handwork.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match="move it away"):
        async with running(FakeNeuron("beast"), state_file=str(file)):
            pass


async def test_a_check_knows_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    beast = FakeNeuron("beast")
    await beast.start()
    files = Files(tmp_path)
    files.config(beast, more='state_file = "handwork.json"\n')
    files.write("models.toml", '[[models]]\nid = "alpha"\nvram_mb = 10\n')
    files.write("handwork.json", '{"pins": [{"model": "alpha", "host": "beast"}], "duties": {"beast": "drained"}}')
    try:
        await asyncio.to_thread(run_check, tmp_path / "cortex.toml", offline=False, as_json=True)
        told = json.loads(capsys.readouterr().out)
        assert told["placement"]["alpha"][0]["detail"] == "drained"
        assert [text for text in told["warnings"] if "by hand" in text] == [
            "beast is drained by hand; `cortex uncordon beast` ends that",
            "alpha is pinned on beast by hand; `cortex unpin alpha beast` ends that",
        ]
        files.write("handwork.json", "[]")
        with pytest.raises(SystemExit):
            await asyncio.to_thread(run_check, tmp_path / "cortex.toml", offline=False, as_json=True)
        assert "move it away" in json.loads(capsys.readouterr().out)["errors"][0]
    finally:
        await beast.die()
        await asyncio.sleep(0.01)
