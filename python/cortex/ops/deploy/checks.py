"""Scripts that ask our own commands on hosts: take a neuron out of service and back, prove that what runs answers."""

import json
import shlex
from typing import Any

from cortex.ops.deploy.inventory import Host
from cortex.ops.deploy.scripts import script

__all__ = ["drain", "failed_checks", "fleet_answers", "gateway_answers", "neuron_answers", "uncordon"]

_NEURON_CLI = "/usr/lib/helexa-neuron/bin/cortex"
_TOKEN = """
for file in /etc/neuron/token /etc/cortex/token; do
  [ -r "$file" ] && CORTEX_NEURON_TOKEN=$(sed -n '/^[^#]/{p;q}' "$file") && export CORTEX_NEURON_TOKEN && break
done
"""


def drain(gateway: Host, name: str, *, seconds: float, key: str) -> str:
    """On the gateway's host: no new requests for `name`, and wait until the running ones are done. A gateway that is
    not there holds up nothing."""
    return script(f"""
systemctl is-active --quiet cortex.service || {{ echo "no gateway runs here"; exit 0; }}
{_key(key)}
/usr/bin/cortex drain {shlex.quote(name)} --endpoint {_door(gateway)} --wait {seconds:.0f} || exit 1
""")


def uncordon(gateway: Host, name: str, *, key: str) -> str:
    """On the gateway's host: requests may go to `name` again."""
    return script(f"""
systemctl is-active --quiet cortex.service || {{ echo "no gateway runs here"; exit 0; }}
{_key(key)}
/usr/bin/cortex uncordon {shlex.quote(name)} --endpoint {_door(gateway)} || exit 1
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
{_key(key)}
tries={max(int(seconds), 1)}
until /usr/bin/cortex status --json --endpoint {_door(host)} >/dev/null; do
  tries=$((tries - 1)); [ "$tries" -gt 0 ] || exit 1; sleep 1
done
""")


def fleet_answers(host: Host, *, seconds: float, key: str) -> str:
    """On a gateway's host: every neuron that it knows is validated, alone and through it."""
    return script(f"""
{_key(key)}
{_TOKEN}
/usr/bin/cortex validate --json --endpoint {_door(host)} --wait {seconds:.0f} >&3 || exit 1
""")


def failed_checks(report: str) -> list[str]:
    """What a validation's JSON says of failures; what is no JSON is a failure."""
    try:
        checks: list[dict[str, Any]] = json.loads(report)["checks"]
        return [f"{one['host']} {one['name']}: {one['detail']}" for one in checks if one["state"] == "failed"]
    except (ValueError, KeyError, TypeError):
        return ["validation did not say how it went"]


def _door(host: Host) -> str:
    return f"http://127.0.0.1:{host.gateway_port}"


def _key(key: str) -> str:
    return f"export CORTEX_API_KEY={shlex.quote(key)}" if key else ":"
