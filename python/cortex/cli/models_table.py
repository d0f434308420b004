"""`cortex models`: what clients may ask for, where it is loaded or fits, its context and price."""

from collections.abc import Iterator
from typing import Any

from cortex.cli.gateway_calls import GatewayCalls
from cortex.cli.output import print_json, print_table, say

__all__ = ["print_models", "show_models"]

_NONE = "-"


def show_models(endpoint: str, *, as_json: bool) -> None:
    """Ask the gateway and print."""
    listed = GatewayCalls(endpoint).get("/v1/models")["data"]
    if as_json:
        print_json(listed)
    else:
        print_models(listed)


def print_models(listed: list[dict[str, Any]]) -> None:
    """One row a name."""
    if not listed:
        say("no models: list them in models.toml, or load one on a host")
        return
    head = ("MODEL", "LOADED ON", "FITS ON", "CONTEXT", "CAPABILITIES", "$ IN / OUT PER MILLION")
    print_table(head, _rows(listed))


def _rows(listed: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for one in listed:
        name = f"{one['id']} = {one['alias_of']}" if one.get("alias_of") else one["id"]
        loaded = [place["node"] for place in one.get("locations", ()) if place["status"] == "loaded"]
        fits = [host for host in one.get("feasible_on", ()) if host not in loaded]
        context = one.get("max_model_len")
        yield (
            name,
            ", ".join(loaded) or _NONE,
            ", ".join(fits) or _NONE,
            _NONE if context is None else str(context),
            ", ".join(one.get("capabilities", ())) or _NONE,
            _price(one.get("cost")),
        )


def _price(cost: dict[str, float] | None) -> str:
    if cost is None:
        return _NONE
    return " / ".join(f"{cost[name]:g}" if name in cost else "?" for name in ("input", "output"))
