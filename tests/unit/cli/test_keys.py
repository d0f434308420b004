"""`cortex keys`: what it prints, where it writes, and what it refuses."""

import json
import re
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cortex.cli.cortex import app
from cortex.config.keys import Keyring, read_keys
from cortex.config.secrets import read_tokens
from cortex.errors import ConfigError


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["keys", *words])


def test_a_key_is_printed_once_listed_without_its_secret_and_revoked(tmp_path: Path) -> None:
    config = tmp_path / "cortex.toml"
    config.write_text('[auth]\nkeys_file = "secret/keys.json"\n')
    (tmp_path / "secret").mkdir()
    made = run("add", "ann", "--admin", "--requests-per-minute", "60", "-c", str(config))
    assert made.exit_code == 0, made.stderr
    key = made.stdout.strip()
    assert re.fullmatch(r"sk-cortex-[0-9a-f]{10}-[\w-]{43}", key)
    path = tmp_path / "secret" / "keys.json"
    record = Keyring(read_keys(path)).find(key)
    assert record is not None
    assert (record.label, record.admin, record.limits.requests_per_minute) == ("ann", True, 60)
    listed = run("list", "--file", str(path))
    assert "ann" in listed.stdout
    assert key.rpartition("-")[2] not in listed.stdout
    assert json.loads(run("list", "-f", str(path), "--json").stdout)[0]["requests_per_minute"] == 60
    assert run("revoke", "ann", "-f", str(path)).exit_code == 0
    assert read_keys(path) == ()
    assert "no keys" in run("list", "-f", str(path)).stderr


def test_a_script_reads_the_same_as_json(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    made = json.loads(run("add", "ci", "--concurrent", "2", "-f", str(path), "--json").stdout)
    record = Keyring(read_keys(path)).find(made["key"])
    assert record is not None
    assert (made["id"], made["label"], made["concurrent"], made["file"]) == (record.id, "ci", 2, str(path))
    (gone,) = json.loads(run("revoke", "ci", "-f", str(path), "--json").stdout)
    assert (gone["id"], "key" in gone) == (record.id, False)
    assert read_keys(path) == ()


@pytest.mark.parametrize(
    ("words", "told"),
    [(("add", "ann"), "already"), (("add", "a b"), "a label is"), (("revoke", "ben"), "no key 'ben'")],
)
def test_what_makes_no_sense_changes_nothing(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    path = tmp_path / "keys.json"
    run("add", "ann", "-f", str(path))
    before = path.read_bytes()
    result = run(*words, "-f", str(path))
    assert isinstance(result.exception, ConfigError)
    assert told in result.exception.message
    assert path.read_bytes() == before


def test_a_token_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "token"
    assert run("token", "--write", str(path)).exit_code == 0
    tokens = read_tokens(str(path), {})
    assert "exists already" in run("token", "--write", str(path)).stderr
    assert read_tokens(str(path), {}) == tokens
    assert run("token").stdout.strip() != tokens[0]
