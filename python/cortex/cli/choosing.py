"""The model that a command means where none is named: the only one that is loaded."""

from typing import Any

from cortex.cli.gateway_calls import GatewayCalls
from cortex.errors import ConfigError

__all__ = ["choose_model"]


def choose_model(calls: GatewayCalls, name: str | None, command: str) -> dict[str, Any]:
    """The entry of /v1/models of this name, or of the only loaded model; `command` shows how to name one. Raises
    ConfigError, with the names that there are."""
    listed: list[dict[str, Any]] = calls.get("/v1/models")["data"]
    if name is not None:
        chosen = [one for one in listed if one["id"] == name]
    else:
        chosen = [one for one in listed if one.get("loaded") and not one.get("alias_of")]
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(sorted(one["id"] for one in listed)) or "none"
    if name is not None:
        raise ConfigError(f"there is no model {name!r}; there are: {names}")
    raise ConfigError(f"say which model: {command} -m MODEL; there are: {names}")
