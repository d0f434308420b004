"""`cortex validate`: asks every host and the gateway, and shows what passed, as a table or as JSON."""

import os
from collections.abc import Sequence

import msgspec

from cortex.cli.output import print_json, print_table, say
from cortex.errors import ConfigError
from cortex.ops.api import Api
from cortex.ops.validate import Check, Options, chosen, validate

__all__ = ["run_validate"]

DEFAULT_GATEWAY = "http://localhost:31313"
KEY, TOKEN = "CORTEX_API_KEY", "CORTEX_NEURON_TOKEN"


def run_validate(endpoint: str | None, hosts: Sequence[str], options: Options, *, as_json: bool) -> None:
    """Look at `hosts`, or all that the gateway knows; ends with status 1 when a check failed.

    Without `endpoint` the gateway is this machine's; hosts that are all URLs then need none. Raises ConfigError,
    UpstreamUnreachable, UpstreamMalformed, Refused.
    """
    if options.quant is not None and options.load is None:
        raise ConfigError("--quant says which file of --load MODEL; give both")
    alone = endpoint is None and bool(hosts) and all(host.startswith(("http://", "https://")) for host in hosts)
    gateway = None if alone else Api(endpoint or DEFAULT_GATEWAY, token=os.environ.get(KEY, ""))
    fleet = gateway.get("/api/fleet") if gateway is not None else None
    targets = chosen(fleet, hosts, os.environ.get(TOKEN, ""))
    if not targets:
        raise ConfigError("the gateway has no hosts: list them as [[neurons]] in cortex.toml, or give --host URL")
    checks = validate(targets, gateway, options)
    failed = any(check.state == "failed" for check in checks)
    if as_json:
        print_json({"ok": not failed, "checks": msgspec.to_builtins(checks)})
    else:
        _show(checks)
    if failed:
        raise SystemExit(1)


def _show(checks: Sequence[Check]) -> None:
    rows = [(check.host, check.name, check.state, f"{check.seconds:.2f} s", check.detail) for check in checks]
    print_table(("HOST", "CHECK", "RESULT", "TIME", "DETAIL"), rows)
    counts = {state: sum(check.state == state for check in checks) for state in ("passed", "failed", "skipped")}
    say(", ".join(f"{count} {state}" for state, count in counts.items()))
