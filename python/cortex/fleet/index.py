"""Index: the fleet's hosts in the orders that placement asks for, kept up from one value of the fleet to the next.

It holds nothing that the fleet and the policy do not say, so decisions are the same with and without it; it only spares
them a look at every host. `search` reads it.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from itertools import chain, compress
from operator import is_not
from typing import NamedTuple

from cortex.fleet.eviction import Policy, claims, frees
from cortex.fleet.idle_order import Idle, IdleOrder
from cortex.fleet.placement import available, promises
from cortex.fleet.state import Fleet, Host, Reach
from cortex.types import ModelState

__all__ = ["Index", "Ranking"]


class _Standing(NamedTuple):
    """What a host that may load has, best device first: bytes free, free if all idle models left, and in all."""

    rooms: tuple[int, ...]
    could: tuple[int, ...]
    totals: tuple[int, ...]
    idle: frozenset[Idle]


_NOWHERE = _Standing((), (), (), frozenset())


class Ranking:
    """Hosts by a figure of their k-th best device, the largest first and then by name, for every k."""

    def __init__(self) -> None:
        self._orders: list[list[tuple[int, str]]] = []

    def order(self, devices: int) -> list[tuple[int, str]]:
        """(-bytes, host) for hosts with so many devices; not to be changed."""
        return self._orders[devices - 1] if devices <= len(self._orders) else []

    def move(self, host: str, old: tuple[int, ...], new: tuple[int, ...]) -> None:
        """The host's figures are others now."""
        if old == new:
            return
        while len(self._orders) < len(new):
            self._orders.append([])
        for at, figure in enumerate(old):
            order = self._orders[at]
            del order[bisect_left(order, (-figure, host))]
        for at, figure in enumerate(new):
            insort(self._orders[at], (-figure, host))


class Index:
    """The index of one fleet under one policy. Places are numbers of devices: `hosts_at` names their hosts, `room_at`
    their free bytes. `promised` and `claimed` are what our load jobs speak for."""

    def __init__(self, fleet: Fleet, policy: Policy) -> None:
        self.policy = policy
        known = policy.catalogue.profiles if policy.strategy == "priority" else {}
        self._classes = sorted({policy.priority(model) for model in ("", *known)})
        self._build(fleet)

    def _build(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.rooms, self.could, self.totals = Ranking(), Ranking(), Ranking()
        self.unmet: set[str] = set()
        self.held: set[str] = set()
        self.hosts_at: list[str] = []
        self.room_at: list[int] = []
        self.promised, self.claimed = promises(fleet), claims(fleet)
        self._places: dict[tuple[str, int], int] = {}
        self._standings: dict[str, _Standing] = {}
        self._idle = [IdleOrder() for _ in self._classes]
        for name in fleet.hosts:
            self._look(name)

    def follow(self, fleet: Fleet) -> None:
        """Take over another value of the fleet: only what differs is looked at."""
        before, self.fleet = self.fleet, fleet
        if fleet is before:
            return
        dirty = set(compress(fleet.hosts, map(is_not, fleet.hosts.values(), before.hosts.values())))
        if len(fleet.hosts) != len(before.hosts) or not dirty <= self._standings.keys():
            self._build(fleet)
            return
        if fleet.jobs is not before.jobs:
            self.promised, self.claimed = promises(fleet), claims(fleet)
            dirty.update(_hosts_of_other_jobs(before, fleet))
        if fleet.pins is not before.pins:
            dirty.update(host for _, host in fleet.pins ^ before.pins)
        for name in dirty & fleet.hosts.keys():
            self._look(name)

    def idle(self, incoming: str) -> IdleOrder:
        """What may go for this model anywhere; not to be changed."""
        return self._idle[self._classes_up_to(self.policy.priority(incoming)) - 1]

    def idle_on(self, host: str, incoming: str) -> Iterator[Idle]:
        """What may go for this model there, in no order."""
        if self.policy.strategy == "lru":
            return iter(self._standings[host].idle)
        most = self.policy.priority(incoming)
        return (one for one in self._standings[host].idle if self.policy.priority(one.model) <= most)

    def with_room(self, host: str, share: int) -> int:
        """How many devices there have so much free."""
        return sum(room >= share for room in self._standings[host].rooms)

    def _classes_up_to(self, priority: int) -> int:
        return len(self._classes) if self.policy.strategy == "lru" else bisect_left(self._classes, priority + 1)

    def _look(self, name: str) -> None:
        """Take one host's figures anew."""
        host = self.fleet.hosts[name]
        for names, belongs in ((self.unmet, host.reach is Reach.UNKNOWN), (self.held, host.held_until > 0)):
            names.discard(name)
            if belongs:
                names.add(name)
        old = self._standings.get(name, _NOWHERE)
        new = self._standing(host) if host.ours and host.loads else _NOWHERE
        self._standings[name] = new
        self.rooms.move(name, old.rooms, new.rooms)
        self.could.move(name, old.could, new.could)
        self.totals.move(name, old.totals, new.totals)
        if old.idle != new.idle:
            self._move(old.idle - new.idle, new.idle - old.idle)

    def _move(self, gone: frozenset[Idle], come: frozenset[Idle]) -> None:
        for one in gone:
            for order in self._orders_of(one):
                order.remove(one)
        for one in come:
            for order in self._orders_of(one):
                order.add(one)

    def _orders_of(self, one: Idle) -> list[IdleOrder]:
        """Those of its class and of all above: whoever may displace it finds it there."""
        if len(self._idle) == 1:
            return self._idle
        return self._idle[bisect_left(self._classes, self.policy.priority(one.model)) :]

    def _standing(self, host: Host) -> _Standing:
        rooms = {device.index: available(self.fleet, host, device, self.promised) for device in host.devices}
        could = dict(rooms)
        found = []
        for model in host.models:
            if not self._may_go(host, model):
                continue
            since = host.models[model].loaded_at
            ripe = 0.0 if since is None else since + self.policy.min_residency_seconds
            for device, freed in frees(host, model, self.policy).items():
                if device in could:
                    could[device] += freed
                    found.append(Idle(host.last_use(model), self._place(host.name, device), model, freed, ripe))
        for device, room in rooms.items():
            self.room_at[self._place(host.name, device)] = room
        totals = [device.total_bytes for device in host.devices]
        return _Standing(_falling(rooms.values()), _falling(could.values()), _falling(totals), frozenset(found))

    def _may_go(self, host: Host, model: str) -> bool:
        """As far as it does not depend on who comes, and when."""
        if host.models[model].status is not ModelState.LOADED or host.busy(model):
            return False
        if (model, host.name) in self.fleet.pins or (host.name, model) in self.claimed:
            return False
        return not self.policy.pinned(model, host.name)

    def _place(self, host: str, device: int) -> int:
        place = self._places.setdefault((host, device), len(self.hosts_at))
        if place == len(self.hosts_at):
            self.hosts_at.append(host)
            self.room_at.append(0)
        return place


def _falling(figures: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(figures, reverse=True))


def _hosts_of_other_jobs(before: Fleet, after: Fleet) -> Iterator[str]:
    for job in chain(before.jobs.values(), after.jobs.values()):
        if before.jobs.get(job.model) is not after.jobs.get(job.model):
            yield job.host
