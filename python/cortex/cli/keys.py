"""`cortex keys`: makes, lists and revokes API keys, and makes the token that gateway and hosts share."""

import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cortex.cli.output import print_json, print_table, say
from cortex.config import AuthConfig, KeyLimits, load_gateway
from cortex.config.auth import anchored
from cortex.config.keys import KeyRecord, change_keys, new_key, read_keys
from cortex.config.secrets import new_token, write_private
from cortex.errors import ConfigError

__all__ = ["keys_app"]

keys_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="API keys, and the token of gateway and hosts."
)

Config = Annotated[Path | None, typer.Option("--config", "-c", help="cortex.toml; else /etc/cortex/cortex.toml.")]
File = Annotated[Path | None, typer.Option("--file", "-f", help="The keys' file; else what cortex.toml says.")]
Json = Annotated[bool, typer.Option("--json", help="The same as JSON.")]
Limit = Annotated[int | None, typer.Option(min=1)]


@keys_app.command()
def add(
    label: Annotated[str, typer.Argument(help="Whose key: shown in logs, metrics and lists.")],
    admin: Annotated[bool, typer.Option("--admin", help="May also load, unload, pin and drain.")] = False,
    requests_per_minute: Limit = None,
    tokens_per_minute: Limit = None,
    concurrent: Limit = None,
    config: Config = None,
    file: File = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it: this once, since only its hash is kept. A running gateway takes it within seconds."""
    limits = KeyLimits(
        requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute, concurrent=concurrent
    )
    text, record = new_key(label, admin=admin, limits=limits, now=time.time())
    path = _path(config, file)

    def added(old: tuple[KeyRecord, ...]) -> tuple[KeyRecord, ...]:
        if any(other.label == label for other in old):
            raise ConfigError(f"there is a key {label!r} already; revoke it first, or choose another label")
        return (*old, record)

    change_keys(path, added)
    if as_json:
        print_json({"key": text, **_shown(record), "file": str(path)})
    else:
        typer.echo(text)
    say(f"{label} ({record.id}) is in {path}; keep the key, it cannot be shown again")


@keys_app.command("list")
def list_keys(
    config: Config = None,
    file: File = None,
    as_json: Json = False,
) -> None:
    """Show the keys: labels and limits, never the secrets."""
    path = _path(config, file)
    shown = [_shown(record) for record in read_keys(path)]
    if as_json:
        print_json(shown)
        return
    if not shown:
        say(f"no keys in {path}; make one with `cortex keys add NAME`")
    rows = [[_cell(value) for value in one.values()] for one in shown]
    print_table(("ID", "LABEL", "CREATED", "ADMIN", "REQUESTS/MIN", "TOKENS/MIN", "CONCURRENT"), rows)


@keys_app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="ID or label, as `cortex keys list` shows them.")],
    config: Config = None,
    file: File = None,
    as_json: Json = False,
) -> None:
    """Take a key away. A running gateway refuses it within seconds."""
    path = _path(config, file)

    gone: list[KeyRecord] = []

    def left(old: tuple[KeyRecord, ...]) -> list[KeyRecord]:
        gone[:] = [record for record in old if key in (record.id, record.label)]
        if not gone:
            raise ConfigError(f"no key {key!r} in {path}; `cortex keys list` shows them")
        return [record for record in old if record not in gone]

    change_keys(path, left)
    if as_json:
        print_json([_shown(record) for record in gone])
    else:
        say(f"{key} is revoked")


@keys_app.command()
def token(
    write: Annotated[Path | None, typer.Option(help="Write it there (mode 0640) unless the file exists.")] = None,
) -> None:
    """Make a token for the gateway and its hosts, which all need the same."""
    if write is None:
        typer.echo(new_token())
    elif write.exists():
        say(f"{write} exists already and stays as it is")
    else:
        write_private(write, f"{new_token()}\n".encode())
        say(f"{write} has a token; copy it to every host, as the file that auth.token_file names in neuron.toml")


def _path(config: Path | None, file: Path | None) -> Path:
    """The keys' file: as asked, as cortex.toml says, else beside it."""
    if file is not None:
        return file
    loaded = load_gateway(config, os.environ)
    folder = loaded.path.parent if loaded.path else Path.cwd()
    return Path((loaded.config.auth or anchored(AuthConfig(), folder)).keys_file)


def _shown(record: KeyRecord) -> dict[str, Any]:
    limits = {name: getattr(record.limits, name) for name in KeyLimits.__struct_fields__}
    created = time.strftime("%Y-%m-%d", time.gmtime(record.created))
    return {"id": record.id, "label": record.label, "created": created, "admin": record.admin, **limits}


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "-"
    return "-" if value is None else str(value)
