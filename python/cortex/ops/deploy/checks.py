"""Scripts that ask our own commands on hosts: take a neuron out of service and back, prove that what runs answers."""

import json
import shlex
from typing import Any

from cortex.ops.deploy.inventory import Host
from cortex.ops.deploy.scripts import script

__all__ = ["ASKS_FOR_KEY", "drain", "failed_checks", "fleet_answers", "gateway_answers", "neuron_answers", "uncordon"]

_NEURON_CLI = "/usr/lib/helexa-neuron/bin/cortex"
_TOKEN = """
for file in /etc/neuron/token /etc/cortex/token; do
  [ -r "$file" ] && CORTEX_NEURON_TOKEN=$(sed -n '/^[^#]/{p;q}' "$file") && export CORTEX_NEURON_TOKEN && break
done
"""
ASKS_FOR_KEY = "No API key"
# Where the operator gave no key and the gateway asks for one, root on its host makes one that lasts as long as the
# script. What the command printed comes out once.
_KEYED = f"""
keyed() {{
  printed=$(mktemp) && told=$(mktemp) || return 1
  "$@" >"$printed" 2>"$told"; status=$?
  if [ $status != 0 ] && [ -z "${{CORTEX_API_KEY:-}}" ] && grep -q '{ASKS_FOR_KEY}' "$printed" "$told"; then
    name=deployment-$$
    trap '/usr/bin/cortex keys revoke "$name" --config /etc/cortex/cortex.toml' EXIT
    CORTEX_API_KEY=$(/usr/bin/cortex keys add "$name" --admin --config /etc/cortex/cortex.toml) || return 1
    export CORTEX_API_KEY
    tries=30
    until /usr/bin/cortex status --json --endpoint "$door" >/dev/null 2>&1 || [ "$tries" = 0 ]; do
      tries=$((tries - 1)); sleep 1
    done
    "$@" >"$printed" 2>"$told"; status=$?
  fi
  cat "$told" >&2; cat "$printed"; rm -f "$told" "$printed"
  return $status
}}
"""


def drain(gateway: Host, name: str, *, seconds: float, key: str) -> str:
    """On the gateway's host: no new requests for `name`, and wait until the running ones are done. A gateway that is
    not there holds up nothing."""
    return script(f"""
systemctl is-active --quiet cortex.service || {{ echo "no gateway runs here"; exit 0; }}
{_door(gateway, key)}
keyed /usr/bin/cortex drain {shlex.quote(name)} --endpoint "$door" --wait {seconds:.0f} || exit 1
""")


def uncordon(gateway: Host, name: str, *, key: str) -> str:
    """On the gateway's host: requests may go to `name` again."""
    return script(f"""
systemctl is-active --quiet cortex.service || {{ echo "no gateway runs here"; exit 0; }}
{_door(gateway, key)}
keyed /usr/bin/cortex uncordon {shlex.quote(name)} --endpoint "$door" || exit 1
""")


def neuron_answers(host: Host, *, seconds: float) -> str:
    """On a neuron's host: it is validated by itself."""
    return script(f"""
{_TOKEN}
{_NEURON_CLI} validate --json --host http://127.0.0.1:{host.neuron_port} --wait {seconds:.0f} >&3 || exit 1
""")


def gateway_answers(host: Host, *, seconds: float, key: str) -> str:
    """On a gateway's host: it tells about its fleet, within some tries."""
    return script(f"""
{_door(host, key)}
left={max(int(seconds), 1)}
until keyed /usr/bin/cortex status --json --endpoint "$door" >/dev/null; do
  left=$((left - 1)); [ "$left" -gt 0 ] || exit 1; sleep 1
done
""")


def fleet_answers(host: Host, *, seconds: float, key: str) -> str:
    """On a gateway's host: every neuron that it knows is validated, alone and through it."""
    return script(f"""
{_door(host, key)}
{_TOKEN}
keyed /usr/bin/cortex validate --json --endpoint "$door" --wait {seconds:.0f} >&3 || exit 1
""")


def failed_checks(report: str) -> list[str]:
    """What a validation's JSON says of failures; what is no JSON is a failure."""
    try:
        checks: list[dict[str, Any]] = json.loads(report)["checks"]
        return [f"{one['host']} {one['name']}: {one['detail']}" for one in checks if one["state"] == "failed"]
    except (ValueError, KeyError, TypeError):
        return ["validation did not say how it went"]


def _door(host: Host, key: str) -> str:
    """The gateway's address as `door`, and how it is asked."""
    given = f"export CORTEX_API_KEY={shlex.quote(key)}" if key else ":"
    return f"{_KEYED}\ndoor=http://127.0.0.1:{host.gateway_port}\n{given}"
