"""Trust: hosts that go away again and again, or fail requests in a row, are left to others for a while, ever longer.

Nobody is refused because of it: where no other host can serve, they still may.
"""

from msgspec.structs import replace

from cortex.fleet.replacing import dropped, put, with_host
from cortex.fleet.state import REST_LIMIT, Fault, Fleet, Host, Reach

__all__ = ["FAULTS_UNTIL_OPEN", "request_failed", "request_served", "went_down"]

FAULTS_UNTIL_OPEN = 3
_REST_SECONDS = 2.0
_WINDOW_SECONDS = 600.0
_KEPT = 8


def went_down(host: Host, now: float) -> Host:
    """1. It is away. 2. The first time within the window costs nothing more, each further one twice the time before."""
    if host.reach is not Reach.UP:  # 1.
        return replace(host, reach=Reach.DOWN)
    downs = (*(at for at in host.downs if now - _WINDOW_SECONDS < at <= now), now)[-_KEPT:]  # 2.
    held = 0.0 if len(downs) == 1 else now + _rest(len(downs) - 2)
    return replace(host, reach=Reach.DOWN, downs=downs, held_until=held)


def request_failed(fleet: Fleet, name: str, model: str, *, now: float) -> Fleet:
    """The host broke off or could not answer a request of the model; it may have left the configuration since."""
    host = fleet.hosts.get(name)
    if host is None:
        return fleet
    count = host.faults[model].count + 1 if model in host.faults else 1
    rest = _rest(count - FAULTS_UNTIL_OPEN) if count >= FAULTS_UNTIL_OPEN else 0.0
    return with_host(fleet, replace(host, faults=put(host.faults, model, Fault(count=count, until=now + rest))))


def request_served(fleet: Fleet, name: str, model: str) -> Fleet:
    """The host answered a request of the model in full: earlier faults are forgiven."""
    host = fleet.hosts.get(name)
    if host is None or model not in host.faults:
        return fleet
    return with_host(fleet, replace(host, faults=dropped(host.faults, model)))


def _rest(times: int) -> float:
    return min(_REST_SECONDS * 2.0 ** min(times, 16), REST_LIMIT)
