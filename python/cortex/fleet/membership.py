"""Which hosts the fleet has, and what an operator wants of them: listed, cordoned, drained."""

from collections.abc import Mapping

from msgspec.structs import replace

from cortex.fleet.state import Fleet, Host

__all__ = ["hosts_listed"]


def hosts_listed(fleet: Fleet, endpoints: Mapping[str, str]) -> Fleet:
    """The configuration's hosts by name. 1. One that stays is as it was; 2. one that moved is met anew, and our leases
    there end as they would have; 3. one that left is forgotten, with what failed there."""
    hosts: dict[str, Host] = {}
    for name, endpoint in endpoints.items():
        known = fleet.hosts.get(name)
        if known is not None and known.endpoint == endpoint:  # 1.
            hosts[name] = known
        elif known is not None:  # 2.
            hosts[name] = Host(name=name, endpoint=endpoint, leases=known.leases, used=known.used)
        else:
            hosts[name] = Host(name=name, endpoint=endpoint)
    failures = {key: failure for key, failure in fleet.failures.items() if key[0] in hosts}  # 3.
    return replace(fleet, hosts=hosts, failures=failures)
