"""API keys and tokens: what is kept, who may read it, and files that are refused."""

import json
import stat
from pathlib import Path
from threading import Thread

import pytest

from cortex.config import KeyLimits
from cortex.config.keys import KeyRecord, Keyring, change_keys, new_key, read_keys
from cortex.config.secrets import read_tokens, write_private
from cortex.errors import ConfigError

NO_LIMITS = KeyLimits()


def made(label: str) -> tuple[str, KeyRecord]:
    return new_key(label, admin=False, limits=NO_LIMITS, now=1000.0)


def test_a_key_is_found_by_itself_alone() -> None:
    text, record = made("ann")
    other, _ = made("ben")
    ring = Keyring([record])
    assert ring.find(text) == record
    for wrong in (other, text[:-1], text + "x", record.id, "", f"sk-cortex-{record.id}-", "sk-cortex-\udc80", "ключ"):
        assert ring.find(wrong) is None


def test_the_file_has_no_secret_and_is_not_for_everybody(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    text, record = new_key("ann", admin=True, limits=KeyLimits(tokens_per_minute=5), now=1000.0)
    change_keys(path, lambda old: (*old, record))
    secret = text.removeprefix(f"sk-cortex-{record.id}-")
    assert len(secret) == 43
    assert secret not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert read_keys(path) == (record,)
    assert [entry.name for entry in tmp_path.iterdir()] == ["keys.json"]


def test_many_who_add_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"

    def add(name: str) -> None:
        _, record = made(name)
        change_keys(path, lambda old: (*old, record))

    threads = [Thread(target=add, args=(f"key{number}",)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {record.label for record in read_keys(path)} == {f"key{number}" for number in range(12)}


@pytest.mark.parametrize("label", ["", "a b", "x" * 65, "-ann", "a\nb", 'a"b'])
def test_a_label_that_would_harm_a_log_or_a_metric_is_refused(label: str) -> None:
    with pytest.raises(ConfigError, match="a label is"):
        made(label)


def test_a_file_that_is_missing_has_no_keys_and_one_that_is_broken_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    assert read_keys(path) == ()
    _, record = made("ann")
    entry = json.loads(json.dumps({"id": record.id, "label": "ann", "hash": record.hash, "created": 1}))
    for text, told in (
        ("{", "not a file of"),
        ('{"kyes": []}', "kyes"),
        (json.dumps({"keys": [{**entry, "hash": "x"}]}), "hash"),
        (json.dumps({"keys": [entry, entry]}), "twice"),
    ):
        path.write_text(text)
        path.chmod(0o640)
        with pytest.raises(ConfigError, match=told):
            read_keys(path)


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o642])
def test_secrets_that_others_may_read_or_change_are_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token"
    write_private(path, b"0123456789abcdef\n")
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 640"):
        read_tokens(str(path), {})


def test_tokens_come_from_the_environment_or_a_file_and_may_be_changed_without_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "token"
    write_private(path, b"# the new one first\nnew-0123456789abcdef\nold-0123456789abcdef\n")
    assert read_tokens(str(path), {}) == ("new-0123456789abcdef", "old-0123456789abcdef")
    assert read_tokens(str(path), {"CORTEX_NEURON_TOKEN": "env-0123456789abcdef"}) == ("env-0123456789abcdef",)
    assert read_tokens(None, {}) == ()


@pytest.mark.parametrize("text", ["", "short", "0123456789abcde\tf"])
def test_a_token_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="token"):
        read_tokens(None, {"CORTEX_NEURON_TOKEN": text})


def test_a_missing_token_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cortex keys token --write"):
        read_tokens(str(tmp_path / "none"), {})
