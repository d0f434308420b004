"""Help and wrong options: every command explains itself, and nothing heavy is imported to do it."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from cortex.cli import cortex, neuron

HEAVY = ("robyn", "granian", "aiohttp", "uvloop", "numpy", "huggingface_hub", "prometheus_client", "cortex._native")
COMMANDS = [
    (cortex.app, []),
    *(
        (cortex.app, [name])
        for name in ("serve", "up", "status", "demo", "starter-model", "validate", "deploy", "export", "version")
    ),
    *((cortex.app, ["keys", *name]) for name in ([], ["add"], ["list"], ["revoke"], ["token"])),
    *((cortex.app, [name]) for name in ("check", "models", "top", "chat", "launch", "load", "unload", "pin", "unpin")),
    *((cortex.app, [name]) for name in ("cordon", "uncordon", "drain", "usage")),
    (neuron.app, []),
    *((neuron.app, [name]) for name in ("serve", "check", "bench", "version")),
]


@pytest.mark.parametrize(("app", "command"), COMMANDS)
def test_every_command_has_help(app: cortex.typer.Typer, command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


@pytest.mark.parametrize("app", [cortex.app, neuron.app])
def test_the_list_above_is_complete(app: cortex.typer.Typer) -> None:
    named = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    groups = {group.name for group in app.registered_groups}
    assert named | groups == {words[0] for owner, words in COMMANDS if owner is app and words}


@pytest.mark.parametrize("module", ["cortex.cli.cortex", "cortex.cli.neuron"])
def test_help_imports_nothing_heavy(module: str) -> None:
    code = (
        f"import sys\nfrom {module} import app\n"
        "try:\n    app(['serve', '--help'])\n"
        f"finally:\n    sys.stderr.write(','.join(sorted(set({HEAVY!r}) & set(sys.modules))))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "Usage:" in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("app", "words", "named"),
    [
        (cortex.app, ["serve", "--lissten", "x"], "--listen"),
        (cortex.app, ["sreve"], "serve"),
        (cortex.app, ["up", "--neuron-port", "70000"], "--neuron-port"),
        (cortex.app, ["up", "--threads", "0"], "--threads"),
        (neuron.app, ["serve", "--port", "many"], "--port"),
        (neuron.app, ["serve", "-p", "-1"], "--port"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_right(app: cortex.typer.Typer, words: list[str], named: str) -> None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert named in result.output


@pytest.mark.parametrize("app", [cortex.app, neuron.app])
def test_the_version_is_printed(app: cortex.typer.Typer) -> None:
    assert CliRunner().invoke(app, ["version"]).stdout == "0.1.0\n"
