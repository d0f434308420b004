"""The configuration's hosts: who stays as it was, who is met anew, who is forgotten."""

import pytest
from msgspec.structs import replace

from cortex.fleet.membership import hosts_listed
from cortex.fleet.state import Fleet, Host, Reach

MET = Host(name="a", endpoint="http://a:1", reach=Reach.UP, version="1", leases={"m": 2}, used={"m": 5.0})
FLEET = hosts_listed(Fleet(), [MET, Host(name="b", endpoint="http://b:1")])
AS_WRITTEN = Host(name="a", endpoint="http://a:1")


def test_one_that_stays_is_as_it_was_and_one_that_left_is_forgotten() -> None:
    assert hosts_listed(FLEET, [AS_WRITTEN]).hosts == {"a": MET}


@pytest.mark.parametrize("changed", [{"endpoint": "http://a:2"}, {"kind": "openai"}, {"only": ("x",)}])
def test_one_that_is_another_now_is_met_anew_with_our_leases(changed: dict[str, object]) -> None:
    found = hosts_listed(FLEET, [replace(AS_WRITTEN, **changed)]).hosts["a"]
    assert (found.reach, found.version) == (Reach.UNKNOWN, "")
    assert (found.leases, found.used) == (MET.leases, MET.used)
