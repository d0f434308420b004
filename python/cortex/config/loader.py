"""Read one TOML file and its environment overrides into a frozen struct; every mistake names file, line and remedy."""

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from cortex.config.environment import Overrides, apply_environment
from cortex.config.locate import find_line
from cortex.config.schema import expectation, field_names
from cortex.errors import ConfigError

__all__ = ["Loaded", "load"]

T = TypeVar("T", bound=msgspec.Struct)
AT_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
UNKNOWN_FIELD = re.compile(r"unknown field `(?P<name>[^`]*)`")


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """A configuration with where it came from (None = built-in defaults) and what to tell the operator."""

    config: T
    path: Path | None
    warnings: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """The file's name for messages."""
        return str(self.path) if self.path else "built-in defaults"


def load(
    schema: type[T],
    path: Path | None,
    *,
    default_path: Path | None,
    prefix: str | None,
    environ: Mapping[str, str],
    refused: Mapping[str, str],
    obsolete: Mapping[str, str] | None = None,
) -> Loaded[T]:
    """Load `schema`: 1. the file, 2. refused and obsolete keys, 3. environment, 4. conversion.

    `refused` maps a top-level key to what to do instead; `obsolete` maps a dotted path to why it has no effect.
    """
    if path is None and default_path is not None and default_path.is_file():
        path = default_path
    text = _read(path) if path is not None else ""
    tree = _parse(text, path)
    for key, remedy in refused.items():
        if key in tree:
            raise ConfigError(f"{_place(path, find_line(text, (key,)))}: {remedy}")
    warnings = [
        f"{_place(path, find_line(text, tuple(dotted.split('.'))))}: {dotted} has no effect: {reason}"
        for dotted, reason in (obsolete or {}).items()
        if _remove(tree, dotted.split("."))
    ]
    overrides = apply_environment(tree, schema, prefix=prefix, environ=environ) if prefix else Overrides({}, ())
    warnings += overrides.warnings
    try:
        config = msgspec.convert(tree, schema)
    except msgspec.ValidationError as error:
        raise _explain(error, schema, _Origin(text, path, overrides)) from error
    return Loaded(config, path, tuple(warnings))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; leave the option out to run with defaults") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def _parse(text: str, path: Path | None) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+), column \d+\)", str(error))
        line = int(found.group(1)) if found else None
        reason = str(error).split(" (at ")[0]
        raise ConfigError(f"{_place(path, line)}: not valid TOML: {reason}") from error


def _remove(tree: dict[str, Any], keys: list[str]) -> bool:
    for key in keys[:-1]:
        branch = tree.get(key)
        if not isinstance(branch, dict):
            return False
        tree = branch
    return tree.pop(keys[-1], None) is not None


@dataclass(frozen=True)
class _Origin:
    text: str
    path: Path | None
    overrides: Overrides

    def place(self, steps: tuple[str | int, ...]) -> str:
        for depth in range(len(steps), 0, -1):
            name = self.overrides.names.get(tuple(str(step) for step in steps[:depth]))
            if name:
                return name
        return _place(self.path, find_line(self.text, steps))


def _explain(error: msgspec.ValidationError, schema: type, origin: _Origin) -> ConfigError:
    message = str(error)
    found = AT_PATH.search(message)
    steps = _steps(found.group("path")) if found else ()
    reason = AT_PATH.sub("", message)
    unknown = UNKNOWN_FIELD.search(reason)
    if unknown is None:
        name = ".".join(str(step) for step in steps) or "the file"
        allowed = expectation(schema, steps)
        return ConfigError(f"{origin.place(steps)}: {name}: {reason}{f'; {allowed}' if allowed else ''}")
    wrong = unknown.group("name")
    names = field_names(schema, steps)
    near = difflib.get_close_matches(wrong, names, n=1)
    remedy = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(names)}"
    return ConfigError(f"{origin.place((*steps, wrong))}: unknown key {wrong!r}; {remedy}")


def _steps(path: str) -> tuple[str | int, ...]:
    parts = re.findall(r"[^.\[\]]+|\[\d+\]|\[\.\.\.\]", path)
    return tuple(int(part[1:-1]) if part[1:-1].isdigit() and part.startswith("[") else part for part in parts)


def _place(path: Path | None, line: int | None) -> str:
    name = str(path) if path is not None else "environment"
    return f"{name}:{line}" if line is not None else name
