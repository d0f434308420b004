"""Search: the best plan in a large fleet, found in the index without a look at every host.

Only who cannot be the best is passed over; who may be is judged by the plan that `placement` makes for the host, so the
answer is that of `choosing.best_plan` over all hosts.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator

from cortex.fleet.catalogue import Model
from cortex.fleet.choosing import best_plan, free_plan
from cortex.fleet.idle_order import IdleRow, rows_of
from cortex.fleet.index import Index
from cortex.fleet.placement import Plan, feasible, plan, plan_rank, share_of
from cortex.fleet.state import Host

__all__ = ["Search"]

_FEW_HOSTS = 40
_WITNESSES = 8
_LAST_NAME = "\U0010ffff"


class Search:
    """One look for a place: for `model`, on no host of `exclude`."""

    def __init__(self, index: Index, model: Model, *, now: float, exclude: frozenset[str]) -> None:
        self._index = index
        self._fleet = index.fleet
        self._model = model
        self._now = now
        self._exclude = exclude
        self._share = share_of(index.fleet, model.profile)
        self._newest = math.inf

    def best(self) -> Plan | None:
        """The best plan: 1. on steady hosts, where memory is free, else after eviction; 2. on all hosts, so. Where the
        profile names the hosts, those are looked at one by one."""
        for steady in (True, False) if self._index.held - self._exclude else (True,):
            if self._model.profile.pinned_on:
                made = self._on_named(steady)
            else:
                made = self.best_free(steady) or self._best_evicting(steady)
            if made is not None:
                return made
        return None

    def best_free(self, steady: bool) -> Plan | None:
        """The best place where nobody has to go: hosts in the order of their room, until none has as much left."""
        best: Plan | None = None
        for minus, name in self._index.rooms.order(self._model.profile.min_devices):
            slack = -minus - self._share
            if slack < 0 or (best is not None and (-slack, name) > (-best.slack_bytes, best.host)):
                break
            host = self._fleet.hosts[name]
            if not self._usable(host, steady):
                continue
            made = free_plan(self._fleet, self._model.profile, host, self._index.promised, self._share)
            if made is not None and (best is None or plan_rank(made) < plan_rank(best)):
                best = made
        return best

    def room_once_idle(self) -> bool:
        """Whether one of the largest hosts would have room if everyone who may go were idle; False says nothing."""
        order = self._index.totals.order(self._model.profile.min_devices)
        hosts = (self._fleet.hosts[name] for _, name in order[:_WITNESSES])
        return any(self._usable(host, steady=False) and self._plan(host, once_idle=True) for host in hosts)

    def _best_evicting(self, steady: bool) -> Plan | None:
        """Idle models of all hosts, longest unused first, are added up by device: a host whose devices have enough by
        the n-th cannot have a plan with older victims than that one. The first plan ends the look at the first model
        that was used later than its victims."""
        best: Plan | None = None
        self._newest = math.inf
        for host in self._enough_by(self._idle_models()):
            made = self._plan(host) if self._usable(host, steady) else None
            if made is not None and (best is None or plan_rank(made) < plan_rank(best)):
                best = made
                self._newest = made.newest_victim
        return best

    def _idle_models(self) -> Iterator[IdleRow]:
        """Of the hosts that could have enough; all, where sorting out these few takes longer."""
        order = self._index.could.order(self._model.profile.min_devices)
        able = bisect_right(order, (-self._share, _LAST_NAME))
        if able > _FEW_HOSTS:
            return self._index.idle(self._model.id).rows()
        return rows_of(one for _, name in order[:able] for one in self._index.idle_on(name, self._model.id))

    def _enough_by(self, idle: Iterator[IdleRow]) -> Iterator[Host]:
        """Each host once, when as many of its devices as are needed have room; until `_newest`. Devices that the model
        may not use count too, and so do models that wait for a load elsewhere: then the host comes early, never
        late."""
        index, share, now = self._index, self._share, self._now
        rooms: dict[int, int] = {}
        lacking: dict[str, int] = {}
        span = 2 * self._index.policy.min_residency_seconds
        for last_use, place, freed, ripe_at in idle:
            if last_use > self._newest:
                return
            if ripe_at - span < now < ripe_at:  # as in `eviction`: a load in the future is none to wait for
                continue
            before = rooms[place] if place in rooms else index.room_at[place]
            rooms[place] = before + freed
            if before < share <= before + freed:
                name = index.hosts_at[place]
                if name not in lacking:
                    lacking[name] = max(1, self._model.profile.min_devices - index.with_room(name, share))
                lacking[name] -= 1
                if lacking[name] == 0:
                    yield self._fleet.hosts[name]

    def _on_named(self, steady: bool) -> Plan | None:
        named = (self._fleet.hosts.get(name) for name in self._model.profile.pinned_on)
        hosts = [host for host in named if host is not None and host.ours and host.loads]
        usable = [host for host in hosts if self._usable(host, steady)]
        return best_plan(self._fleet, self._model.profile, usable, self._index.policy, now=self._now)

    def _usable(self, host: Host, steady: bool) -> bool:
        """Whether the host may be tried: it could hold the model, and did not fail to lately."""
        if host.name in self._exclude or (steady and not host.steady(self._now)):
            return False
        failure = self._fleet.failures.get((host.name, self._model.id))
        if failure is not None and failure.holds(self._now):
            return False
        return feasible(self._fleet, self._model.profile, host, share=self._share)

    def _plan(self, host: Host, *, once_idle: bool = False) -> Plan | None:
        index = self._index
        return plan(
            self._fleet,
            self._model.profile,
            host,
            index.policy,
            now=self._now,
            once_idle=once_idle,
            promised=index.promised,
            claimed=index.claimed,
        )
