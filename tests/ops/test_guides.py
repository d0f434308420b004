"""The guides are true: their commands and options exist, their files load, their links lead somewhere."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from cortex.cli import cortex, neuron
from cortex.config import load_gateway
from cortex.ops.deploy.inventory import load_inventory
from tests.fleet import test_guides as rig_tests
from tests.fleet.rig.guides import RUN, shell_blocks

ROOT = Path(__file__).resolve().parents[2]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
BLOCK = re.compile(r"^ *```(?P<language>\w*)\n(?P<text>.*?)^ *```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?P<target>[^)#]+)(#[^)]*)?\)")
# Variables before it, a folder before it, then ours.
CALL = re.compile(r"^(?:[A-Z_]+=(?:\$\([^)]*\)|\S+) )*(?:\S*/)?((?:cortex|neuron) [a-z].*)")
APPS = {"cortex": typer.main.get_command(cortex.app), "neuron": typer.main.get_command(neuron.app)}


def blocks(language: str) -> Iterator[tuple[Path, str]]:
    for path in GUIDES:
        yield from (
            (path, found["text"]) for found in BLOCK.finditer(path.read_text()) if found["language"] == language
        )


def commands() -> list[str]:
    """Every call of our commands in shell blocks and in the text, without what is before and after it."""
    lines = [line for _, text in blocks("sh") for line in text.splitlines()]
    lines += [span for path in GUIDES for span in re.findall(r"`([^`\n]+)`", path.read_text())]
    found = [CALL.match(line.strip()) for line in lines]
    return sorted({match[1].split(" #")[0].split(" > ")[0] for match in found if match})


@pytest.mark.parametrize("line", commands())
def test_every_command_and_option_exists(line: str) -> None:
    name, *words = shlex.split(line)
    command = APPS[name]
    while words and hasattr(command, "commands"):
        word = words.pop(0)
        if word not in command.commands:
            pytest.fail(f"{name} has no command {word}: {line}")
        command = command.commands[word]
    known = {option for item in command.params for option in (*item.opts, *item.secondary_opts)}
    ours = words[: words.index("--")] if "--" in words else words
    asked = {word for word in ours if word.startswith("-")}
    assert asked <= known | {"--help"}, line


def test_there_are_commands_to_look_at() -> None:
    assert len(commands()) > 15


def test_the_first_fleet_s_files_load(tmp_path: Path) -> None:
    texts = {text.splitlines()[0]: text for _, text in blocks("toml")}
    (tmp_path / "inventory.toml").write_text(texts["# fleet/inventory.toml"])
    (tmp_path / "cortex.toml").write_text(texts["# fleet/cortex.toml"])
    for name in ("models.toml", "neuron.toml", "token"):
        (tmp_path / name).write_text("")
    inventory = load_inventory(tmp_path / "inventory.toml", {})
    gateway = load_gateway(tmp_path / "cortex.toml", {}).config
    neurons = {host.name for host in inventory.hosts if "neuron" in host.roles}
    assert neurons == {peer.name for peer in gateway.neurons}, "deployment finds them at the gateway by name"


def test_every_block_is_run_on_the_rig_or_says_why_not() -> None:
    blocks_by_name = shell_blocks()
    for name, block in blocks_by_name.items():
        assert block.place.startswith(("# operator", "# host")), f"{name} does not say where it is run"
    told = {name for name, block in blocks_by_name.items() if block.reason}
    assert set(blocks_by_name) - told == RUN, "tests/fleet/test_guides.py runs exactly the others"
    assert rig_tests.__name__ == "tests.fleet.test_guides"


def test_links_lead_somewhere() -> None:
    broken = [
        f"{path.name}: {found['target']}"
        for path in GUIDES
        for found in LINK.finditer(path.read_text())
        if "://" not in found["target"] and not (path.parent / found["target"]).exists()
    ]
    assert broken == []
