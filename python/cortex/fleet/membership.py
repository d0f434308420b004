"""Which hosts the fleet has, and what an operator wants: hosts cordoned or drained, models pinned."""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from cortex.fleet.replacing import with_host
from cortex.fleet.state import Duty, Fleet, Host, located_in

__all__ = ["duty_given", "handwork_restored", "hosts_listed", "pinned", "unpinned"]


def hosts_listed(fleet: Fleet, listed: Iterable[Host]) -> Fleet:
    """The configuration's hosts. 1. One that stays is as it was; 2. one that moved is met anew, and our leases there
    end as they would have; 3. one that left is forgotten, with what failed and what was pinned there."""
    hosts: dict[str, Host] = {}
    for host in listed:
        known = fleet.hosts.get(host.name)
        if known is None:
            hosts[host.name] = host
        elif known.same_peer(host):  # 1.
            hosts[host.name] = known
        else:  # 2.
            hosts[host.name] = replace(host, leases=known.leases, used=known.used, duty=known.duty)
    failures = {key: failure for key, failure in fleet.failures.items() if key[0] in hosts}  # 3.
    pins = frozenset(pin for pin in fleet.pins if pin[1] in hosts)
    return replace(fleet, hosts=hosts, failures=failures, pins=pins, located=located_in(hosts))


def handwork_restored(fleet: Fleet, pins: Iterable[tuple[str, str]], duties: Mapping[str, Duty]) -> Fleet:
    """What operators did before, on the hosts that there are: pins as (model, host), duties by host."""
    for name in duties.keys() & fleet.hosts.keys():
        fleet = duty_given(fleet, name, duties[name])
    return replace(fleet, pins=fleet.pins | {pin for pin in pins if pin[1] in fleet.hosts})


def duty_given(fleet: Fleet, name: str, duty: Duty) -> Fleet:
    """An operator lets the host do this much."""
    return with_host(fleet, replace(fleet.hosts[name], duty=duty))


def pinned(fleet: Fleet, model: str, host: str) -> Fleet:
    """The model is not evicted there."""
    return replace(fleet, pins=fleet.pins | {(model, host)})


def unpinned(fleet: Fleet, model: str, host: str) -> Fleet:
    """It may be again, unless the catalogue pins it."""
    return replace(fleet, pins=fleet.pins - {(model, host)})
