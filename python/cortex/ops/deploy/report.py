"""What became of each host."""

from typing import Literal

import msgspec

__all__ = ["HostReport", "Report", "State"]

State = Literal["unchanged", "planned", "changed", "failed", "rolled back", "not started"]
_FINE = frozenset({"unchanged", "planned", "changed"})


class HostReport(msgspec.Struct, frozen=True, kw_only=True):
    """One host. `actions` were done, or would be; `error` says why it failed, `notes` what else to know."""

    name: str
    state: State
    actions: tuple[str, ...] = ()
    error: str = ""
    notes: tuple[str, ...] = ()
    log: str = ""
    seconds: float = 0.0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The fleet. `fleet` has what failed when all of it was validated at the end."""

    hosts: tuple[HostReport, ...]
    fleet: tuple[str, ...] = ()
    interrupted: bool = False

    @property
    def ok(self) -> bool:
        """Whether every host is as it shall be (or would be)."""
        return not self.interrupted and not self.fleet and all(host.state in _FINE for host in self.hosts)
