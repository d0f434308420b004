"""World: runs a scene through the gateway's own policy and transitions, event by event, and checks what must hold.

Everyone sees a host's news a moment late, so that plans are made from old states, as they are in life. No clock, no
loop, no randomness but the scene's.
"""

import heapq
import itertools
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from benches.simulate.machine import MIB, Machine
from benches.simulate.trace import Arrival, Scene
from cortex.config import ModelProfile
from cortex.errors import LoadError
from cortex.fleet.catalogue import Catalogue, Model
from cortex.fleet.eviction import Policy
from cortex.fleet.index import Index
from cortex.fleet.membership import hosts_listed
from cortex.fleet.scheduler import Decision, Load, Reject, Serve, Wait, decide
from cortex.fleet.state import Fleet, Host, Job
from cortex.fleet.transitions import (
    discovered,
    event_seen,
    job_ended,
    job_started,
    leased,
    load_failed,
    refused,
    released,
)

__all__ = ["Request", "Tally", "World"]

WAIT_SECONDS = 600.0
TICK_SECONDS = 0.5
BYTES_A_SECOND = 2 << 30


@dataclass
class Request:
    """One request from its arrival to its one ending."""

    number: int
    arrival: Arrival
    model: str
    cold: bool = False
    retries: int = 0
    ending: str = ""
    waited: float = 0.0


@dataclass
class Tally:
    """What is counted; `decisions` are seconds of CPU by kind of decision, `follows` those that the index took before
    each to take over what had happened."""

    endings: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    decisions: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    loads: int = 0
    stale: int = 0
    failed_loads: int = 0
    deaths: int = 0
    retries: int = 0
    follows: list[float] = field(default_factory=list)

    def decided(self, decision: Decision, seconds: float) -> None:
        """Count a decision; loads that displace others apart."""
        kind = type(decision).__name__ if not isinstance(decision, Wait) else f"Wait({decision.reason})"
        if isinstance(decision, Load):
            kind = "Load after eviction" if decision.evict else "Load where it is free"
        self.decisions[kind].append(seconds)


class World:
    """`policy` gets the scene's catalogue."""

    def __init__(self, scene: Scene, policy: Policy, *, check: bool = True) -> None:
        self.scene = scene
        self.now = 0.0
        self.tally = Tally()
        sizes = {f"m{number}": size for number, size in enumerate(scene.model_bytes())}
        self.models = {
            name: Model(profile=ModelProfile(id=name, vram_mb=-(-size // MIB)), listed=True)
            for name, size in sizes.items()
        }
        catalogue = Catalogue(profiles={name: model.profile for name, model in self.models.items()})
        self.policy = Policy(
            catalogue=catalogue,
            strategy=policy.strategy,
            min_residency_seconds=policy.min_residency_seconds,
            replicate_after=policy.replicate_after,
        )
        totals = scene.host_bytes()
        self.machines = {f"h{at}": Machine(f"h{at}", total, scene.places) for at, total in enumerate(totals)}
        self.fleet = hosts_listed(Fleet(), [Host(name=name, endpoint=f"http://{name}") for name in self.machines])
        self.waiting: dict[str, deque[Request]] = {}
        self.running: dict[str, dict[int, Request]] = defaultdict(dict)
        self.jobs: dict[str, tuple[str, int]] = {}
        self.index = Index(self.fleet, self.policy)
        self._check = check
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._failures = scene.random("load failures")

    def run(self, trace: Iterable[Arrival]) -> Tally:
        """All of the trace, and then until everybody has an ending."""
        for name in self.machines:
            self._meet(name)
        self._deaths()
        numbers = itertools.count()
        for arrival in trace:
            self._until(arrival.at)
            self._ask(Request(next(numbers), arrival, f"m{arrival.model}"))
        self._at(TICK_SECONDS, self._tick)
        while self._queue and (self.waiting or any(self.running.values())):
            self._next()
        assert not self.waiting
        assert not any(self.running.values())
        assert sum(self.tally.endings.values()) == next(numbers), "every request ends once"
        assert not any(host.leases for host in self.fleet.hosts.values()), "no lease is left"
        return self.tally

    def _until(self, when: float) -> None:
        while self._queue and self._queue[0][0] <= when:
            self._next()
        self.now = when

    def _next(self) -> None:
        self.now, _, action = heapq.heappop(self._queue)
        action()

    def _at(self, delay: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + delay, next(self._order), action))

    # Hosts

    def _meet(self, name: str) -> None:
        machine = self.machines[name]
        if machine.alive:
            self.fleet = discovered(self.fleet, name, machine.discovery())
            self.fleet = event_seen(self.fleet, name, machine.news())

    def _tell(self, name: str) -> None:
        """The host's news reach the gateway a moment later, as they are then."""
        if self._check:
            self.machines[name].check()
        self._at(self.scene.news_delay, lambda: self._meet(name))

    def _deaths(self) -> None:
        if not self.scene.deaths:
            return
        dice = self.scene.random("deaths")
        when = 0.0
        while (when := when + dice.expovariate(self.scene.deaths)) < self.scene.seconds:
            name = f"h{dice.randrange(self.scene.hosts)}"
            self._at(when, lambda name=name: self._die(name))  # type: ignore[misc]
            self._at(when + dice.uniform(2, 60), lambda name=name: self._revive(name))  # type: ignore[misc]

    def _die(self, name: str) -> None:
        machine = self.machines[name]
        if not machine.alive:
            return
        self.tally.deaths += 1
        machine.die()
        self.fleet = refused(self.fleet, name, now=self.now)
        for model, (host, _) in list(self.jobs.items()):
            if host == name:
                self._load_failed(model, LoadError("the host went away"))
        for request in list(self.running[name].values()):
            del self.running[name][request.number]
            self.fleet = released(self.fleet, name, request.model, now=self.now)
            self.tally.retries += 1
            request.retries += 1
            self._ask(request)

    def _revive(self, name: str) -> None:
        self.machines[name].alive = True
        self._tell(name)

    # Requests

    def _tick(self) -> None:
        """What waits looks again, and gives up after its time."""
        for model in list(self.waiting):
            self._look(model)
        if self.waiting or any(self.running.values()):
            self._at(TICK_SECONDS, self._tick)

    def _ask(self, request: Request) -> None:
        if request.model in self.waiting:
            self.waiting[request.model].append(request)
        elif not self._try(request):
            self.waiting[request.model] = deque([request])

    def _look(self, model: str) -> None:
        """The line of a model: its head decides, until it has to wait."""
        line = self.waiting.get(model)
        while line:
            if self.now - line[0].arrival.at > WAIT_SECONDS:
                self._end(line.popleft(), "waited too long")
            elif self._try(line[0]):
                line.popleft()
            else:
                return
        self.waiting.pop(model, None)

    def _try(self, request: Request) -> bool:
        """Whether the request need not wait any more."""
        model = self.models[request.model]
        while True:
            waiting = len(self.waiting.get(request.model, ()))
            began = time.thread_time()
            self.index.follow(self.fleet)
            between = time.thread_time()
            decision = decide(self.fleet, model, self.policy, now=self.now, waiting=waiting, index=self.index)
            self.tally.decided(decision, time.thread_time() - between)
            self.tally.follows.append(between - began)
            match decision:
                case Serve(host):
                    if self._serve(request, host):
                        return True
                case Load():
                    self._load(decision, model.id)
                case Wait(reason):
                    request.cold = request.cold or reason == "loading"
                    return False
                case Reject():
                    self._end(request, decision.kind.code)
                    return True

    def _serve(self, request: Request, host: str) -> bool:
        """Whether the host takes it; one that has not, since the gateway's picture is old, is asked what it has."""
        machine = self.machines[host]
        if not machine.begin_request(request.model):
            self.tally.stale += 1
            self._meet(host)
            return False
        request.waited = self.now - request.arrival.at
        self.fleet = leased(self.fleet, host, request.model)
        self.running[host][request.number] = request
        life = machine.life
        self._at(request.arrival.seconds, lambda: self._finish(request, host, life))
        return True

    def _finish(self, request: Request, host: str, life: int) -> None:
        machine = self.machines[host]
        if machine.life != life or request.number not in self.running[host]:
            return
        machine.end_request(request.model, self.now)
        del self.running[host][request.number]
        self.fleet = released(self.fleet, host, request.model, now=self.now)
        self._end(request, "cold" if request.cold else "warm")
        self._look(request.model)

    def _end(self, request: Request, ending: str) -> None:
        assert not request.ending, "a request ends once"
        request.ending = ending
        self.tally.endings[ending] += 1
        self.tally.waits.append(request.waited)

    # Loads

    def _load(self, decision: Load, model: str) -> None:
        made = decision.plan
        self.fleet = job_started(
            self.fleet,
            Job(
                model=model,
                host=made.host,
                since=self.now,
                devices=made.devices,
                share_bytes=made.share_bytes,
                evict=made.evict,
            ),
        )
        machine = self.machines[made.host]
        self.jobs[model] = (made.host, machine.life)
        size = (self.models[model].profile.vram_mb or 0) * MIB
        refusal = machine.begin_load(model, size, made.evict, self.fleet.hosts[made.host].revision)
        if refusal is not None:
            self.tally.stale += 1
            del self.jobs[model]
            self._meet(made.host)
            self.fleet = load_failed(self.fleet, model, refusal, now=self.now, plan=True)
            return
        self.tally.loads += 1
        self._tell(made.host)
        life = machine.life
        self._at(1.0 + size / BYTES_A_SECOND, lambda: self._loaded(model, made.host, life))

    def _loaded(self, model: str, host: str, life: int) -> None:
        if self.jobs.get(model) != (host, life):
            return
        failed = self._failures.random() < self.scene.load_failures
        self.machines[host].end_load(model, ok=not failed)
        self._meet(host)
        if failed:
            self._load_failed(model, LoadError("bad luck"))
            return
        del self.jobs[model]
        self.fleet = job_ended(self.fleet, model)
        self._look(model)

    def _load_failed(self, model: str, error: LoadError) -> None:
        self.tally.failed_loads += 1
        del self.jobs[model]
        self.fleet = load_failed(self.fleet, model, error, now=self.now)
        self._look(model)
