"""Write man pages and shell completions of our commands, from the commands themselves.

    PYTHONPATH=TREE python3 rpm/tools/manual.py --out FOLDER cortex neuron

makes FOLDER/man/NAME.1 and FOLDER/completions/{bash,zsh,fish}/...
"""

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

import typer

__all__ = ["completion", "main", "page"]

_PLACES = {"bash": "{name}", "zsh": "_{name}", "fish": "{name}.fish"}


def page(name: str, command: Any) -> str:
    """One man page (section 1) with every subcommand and its options; `command` is Click's."""
    lines = [f'.TH "{name.upper()}" "1" "" "cortex" "cortex manual"', ".SH NAME", f"{name} \\- {_text(command.help)}"]
    lines += [".SH SYNOPSIS", f".B {name}", "COMMAND [OPTIONS]", ".SH COMMANDS"]
    for words, one in _all(command, ()):
        arguments = [_text(item.metavar or item.name.upper()) for item in _of(one, "argument")]
        lines += [f'.SS "{" ".join([name, *words, *arguments])}"', _text(one.help)]
        for option in _of(one, "option"):
            lines += [".TP", f".B {_text(', '.join(option.opts))}", _text(option.help)]
    lines += [".SH FILES", "/etc/cortex/cortex.toml, /etc/cortex/models.toml, /etc/neuron/neuron.toml"]
    return "\n".join([*lines, ""])


def _all(command: Any, words: tuple[str, ...]) -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []
    for name, one in command.commands.items():
        inner = hasattr(one, "commands")
        found += _all(one, (*words, name)) if inner else [((*words, name), one)]
    return found


def _of(command: Any, kind: str) -> list[Any]:
    return [item for item in command.params if item.param_type_name == kind]


def _text(text: str | None) -> str:
    words = " ".join((text or "").split())
    escaped = words.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def completion(name: str, shell: str) -> str:
    """The script that a shell loads."""
    from typer.completion import get_completion_script

    return get_completion_script(prog_name=name, complete_var=f"_{name.upper()}_COMPLETE", shell=shell) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Write man pages and shell completions.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("names", nargs="+")
    given = parser.parse_args()
    for name in given.names:
        command = typer.main.get_command(import_module(f"cortex.cli.{name}").app)
        _write(given.out / "man" / f"{name}.1", page(name, command))
        for shell, place in _PLACES.items():
            _write(given.out / "completions" / shell / place.format(name=name), completion(name, shell))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
