"""The usage ledger: every request that is taken in begins and ends once in it, whatever happens to the gateway."""

import errno
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cortex.cli.usage import run_usage
from cortex.errors import ConfigError
from cortex.gateway.ledger import KILLED, Ledger
from cortex.types import Usage
from tests.fakes.neuron import FakeNeuron
from tests.gateway.rig import CHAT, MESSAGES, chat, message, running

pytestmark = pytest.mark.anyio
NOTHING = Usage()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(raw) for raw in path.read_text().splitlines() if raw]


def opened(path: Path) -> Ledger:
    ledger = Ledger(path, lambda: None)
    ledger.open()
    return ledger


async def test_every_request_begins_and_ends_once_with_its_tokens(tmp_path: Path) -> None:
    path = tmp_path / "usage.jsonl"
    beast = FakeNeuron("beast")
    beast.put("alpha")
    async with running(beast, ledger=str(path)) as rig:
        await rig.sees_loaded("beast", "alpha")
        await rig.post(CHAT, chat(), {"x-request-id": "mine"})
        await rig.post(MESSAGES, message(stream=True))
        await rig.post(CHAT, chat("nothing"))
        gate = beast.hold("alpha")
        async with rig.open(CHAT, chat(stream=True)) as response:
            assert response.status == 200
        await rig.idle()  # before the host goes on: else it may finish first
        gate.set()
    told = lines(path)
    assert Counter(one["event"] for one in told) == {"began": 4, "ended": 4}
    ended = {one["id"]: one for one in told if one["event"] == "ended"}
    assert ended.keys() == {one["id"] for one in told if one["event"] == "began"}
    first = next(one for one in ended.values() if one["request_id"] == "mine")
    assert (first["outcome"], first["model"], first["neuron"], first["key"]) == ("ok", "alpha", "beast", "anonymous")
    assert (first["prompt_tokens"], first["cached_tokens"], first["completion_tokens"]) == (7, 2, 3)
    assert Counter(one["outcome"] for one in ended.values()) == {"ok": 2, "model_not_found": 1, "client_gone": 1}


def test_what_an_earlier_gateway_left_open_is_ended_once(tmp_path: Path) -> None:
    path = tmp_path / "usage.jsonl"
    first = opened(path)
    done = first.began(request_id="a", key="ann", api="chat")
    lost = first.began(request_id="b", key="ben", api="chat")
    first.ended(done, usage=NOTHING, outcome="ok")
    for _ in range(2):  # killed: never closed
        opened(path)
    endings = [(one["id"], one["outcome"], one.get("key", "")) for one in lines(path) if one["event"] == "ended"]
    assert endings == [(done, "ok", ""), (lost, KILLED, "ben")]


def test_a_torn_last_line_harms_no_other(tmp_path: Path) -> None:
    path = tmp_path / "usage.jsonl"
    opened(path).began(request_id="a", key="ann", api="chat")
    with path.open("ab") as file:
        file.write(b'{"event":"ended","id":"')
    ledger = opened(path)
    second = ledger.began(request_id="b", key="ben", api="chat")
    ledger.ended(second, usage=Usage(prompt_tokens=3), outcome="ok")
    whole = [json.loads(raw) for raw in path.read_text().splitlines() if raw.endswith("}")]
    assert [one["event"] for one in whole] == ["began", "ended", "began", "ended"]


def test_a_full_disk_stops_no_request_and_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "usage.jsonl"
    lost: list[int] = []
    ledger = Ledger(path, lambda: lost.append(1))
    ledger.open()
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:5]))
    ledger.began(request_id="a", key="ann", api="chat")

    def full(_file: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    ledger.began(request_id="b", key="ann", api="chat")
    monkeypatch.setattr(os, "write", real)
    ledger.began(request_id="c", key="ann", api="chat")
    assert len(lost) == 2
    assert json.loads(path.read_text().splitlines()[-1])["request_id"] == "c"


def test_what_is_no_file_is_written_and_not_read() -> None:
    """Reading `/dev/full` would never end."""
    lost: list[int] = []
    ledger = Ledger(Path("/dev/full"), lambda: lost.append(1))
    ledger.open()
    ledger.began(request_id="a", key="ann", api="chat")
    ledger.close()
    assert lost == [1]


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "usage.jsonl"
    ledger = opened(path)
    id_ = ledger.began(request_id="a", key="ann", api="chat")
    path.rename(tmp_path / "old")
    ledger.reopen()
    ledger.ended(id_, usage=NOTHING, outcome="ok")
    assert [one["event"] for one in lines(path)] == ["ended"]
    assert [one["event"] for one in lines(tmp_path / "old")] == ["began"]


def test_a_place_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"usage\.ledger"):
        opened(tmp_path / "none" / "usage.jsonl")


def test_the_command_sums_each_request_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "usage.jsonl"
    ledger = opened(path)
    for key, tokens in (("ann", 10), ("ann", 5), ("ben", 1)):
        id_ = ledger.began(request_id="", key=key, api="chat")
        ledger.ended(id_, usage=Usage(prompt_tokens=tokens, completion_tokens=1), key=key, outcome="ok")
    path.write_text(path.read_text() + path.read_text().splitlines()[-1] + "\nbroken\n")
    run_usage(path, None, by="key", days=1.0, as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [(row["key"], row["requests"], row["prompt_tokens"]) for row in rows] == [("ann", 2, 15), ("ben", 1, 1)]
    run_usage(path, None, by="outcome", days=1.0, as_json=False)
    assert capsys.readouterr().out.splitlines()[1].split() == ["ok", "3", "16", "0", "3"]
    with pytest.raises(ConfigError, match="--by"):
        run_usage(path, None, by="colour", days=1.0, as_json=False)
