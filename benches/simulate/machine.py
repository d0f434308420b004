"""Machine: one simulated host as it truly is; it keeps a neuron's promises: no more memory than it has, no eviction of
what is in use, no plan that is older than its state."""

from dataclasses import dataclass, field

from cortex.errors import CortexError, InsufficientMemory, PlanStale
from cortex.protocol import DeviceHealth, DeviceInfo, Discovery, Health, ModelEntry, ModelLoad, NeuronEvent
from cortex.types import ModelState

__all__ = ["Machine"]

MIB = 1 << 20


@dataclass
class Machine:
    """`resident` and `loading` are bytes by model, `busy` requests by model."""

    name: str
    total: int
    places: int
    alive: bool = True
    life: int = 0
    revision: int = 0
    resident: dict[str, int] = field(default_factory=dict)
    loading: dict[str, int] = field(default_factory=dict)
    busy: dict[str, int] = field(default_factory=dict)
    used: dict[str, float] = field(default_factory=dict)
    evictions: int = 0

    @property
    def epoch(self) -> str:
        return f"{self.name}/{self.life}"

    @property
    def free(self) -> int:
        return self.total - sum(self.resident.values()) - sum(self.loading.values())

    def check(self) -> None:
        """What must hold whatever the gateway does."""
        assert self.free >= 0, f"{self.name} is over-committed by {-self.free} bytes"
        assert not self.resident.keys() & self.loading.keys()
        assert self.busy.keys() <= self.resident.keys(), "a request runs on a model that is not there"

    def begin_load(self, model: str, size: int, evict: tuple[str, ...], revision: int) -> CortexError | None:
        """Start a load as a neuron does, or say why not."""
        if revision != self.revision:
            return PlanStale("the plan is older than the host")
        if any(self.busy.get(victim) or victim not in self.resident for victim in evict):
            return PlanStale("a victim is in use")
        if size > self.free + sum(self.resident[victim] for victim in evict):
            return InsufficientMemory("no room", extras={"needed_bytes": size, "free_bytes": self.free})
        for victim in evict:
            del self.resident[victim]
            self.evictions += 1
        self.loading[model] = size
        self.revision += 1
        return None

    def end_load(self, model: str, *, ok: bool) -> None:
        size = self.loading.pop(model)
        if ok:
            self.resident[model] = size
        self.revision += 1

    def begin_request(self, model: str) -> bool:
        """Whether the model is there to serve it."""
        if not self.alive or model not in self.resident:
            return False
        self.busy[model] = self.busy.get(model, 0) + 1
        return True

    def end_request(self, model: str, now: float) -> None:
        self.busy[model] -= 1
        self.used[model] = now
        if not self.busy[model]:
            del self.busy[model]

    def die(self) -> None:
        """Everything in it is gone."""
        self.alive = False
        self.life += 1
        self.revision = 0
        for part in (self.resident, self.loading, self.busy, self.used):
            part.clear()

    def discovery(self) -> Discovery:
        device = DeviceInfo(index=0, name="simulated", vram_total_mb=self.total // MIB)
        return Discovery(hostname=self.name, os="", kernel="", epoch=self.epoch, version="", devices=(device,))

    def news(self) -> NeuronEvent:
        """A snapshot of everything, as its event stream would tell it."""
        loaded = [self._entry(model, size, ModelState.LOADED) for model, size in self.resident.items()]
        coming = [self._entry(model, size, ModelState.LOADING) for model, size in self.loading.items()]
        return NeuronEvent(
            kind="snapshot",
            epoch=self.epoch,
            revision=self.revision,
            models=(*loaded, *coming),
            health=self._health(),
        )

    def _entry(self, model: str, size: int, status: ModelState) -> ModelEntry:
        used = self.used.get(model)
        return ModelEntry(id=model, status=status, devices=(0,), bytes=size, last_used=used, loaded_at=0.0)

    def _health(self) -> Health:
        resident = sum(self.resident.values())
        device = DeviceHealth(
            index=0,
            vram_used_mb=-(-resident // MIB),
            vram_free_mb=(self.total - resident) // MIB,
            reserved_mb=-(-sum(self.loading.values()) // MIB),
        )
        figures = tuple(
            ModelLoad(id=model, in_flight=self.busy.get(model, 0), max_in_flight=self.places) for model in self.resident
        )
        return Health(
            status="ok", uptime_secs=0.0, epoch=self.epoch, revision=self.revision, devices=(device,), models=figures
        )
