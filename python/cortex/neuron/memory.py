"""Ledger: who holds how much of which device, what is promised and not yet taken, and whether one more fits."""

from collections.abc import Collection

import msgspec

from cortex.errors import InsufficientMemory, NeverFits
from cortex.neuron.devices import MIB, Reading
from cortex.protocol import DeviceHealth

__all__ = ["Holding", "Ledger"]


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """What one model has or is promised; `settled` once it is loaded."""

    device: int
    bytes: int
    settled: bool = False


class Ledger:
    """The host's memory as its one authority sees it; a value kept current by its owner, without I/O.

    Pages are taken when they are first used, so a measured figure alone would promise the same memory twice.
    """

    def __init__(self, readings: tuple[Reading, ...]) -> None:
        self._readings = {reading.index: reading for reading in readings}
        self._holdings: dict[str, Holding] = {}

    @property
    def devices(self) -> tuple[int, ...]:
        """Indices of the devices."""
        return tuple(sorted(self._readings))

    def measured(self, readings: tuple[Reading, ...]) -> None:
        """Take new figures."""
        self._readings = {reading.index: reading for reading in readings}

    def reading(self, device: int) -> Reading:
        """The last figures of a device."""
        return self._readings[device]

    def holding(self, model: str) -> Holding | None:
        """What the model holds."""
        return self._holdings.get(model)

    def available(self, device: int) -> int:
        """Free bytes less promises; never negative."""
        return self.room(device)

    def roomiest(self, *, leaving: Collection[str] = ()) -> int:
        """The device with the most room."""
        return max(self.devices, key=lambda device: (self.room(device, leaving=leaving), -device))

    def room(self, device: int, *, leaving: Collection[str] = ()) -> int:
        """What is available once the models that are `leaving` are gone: their bytes fill first what was promised
        beyond what is free, so that nobody counts on them twice."""
        coming = [held for name in leaving if (held := self._holdings.get(name)) is not None]
        freed = sum(held.bytes for held in coming if held.device == device)
        return max(0, self._readings[device].free_bytes - self.promised(device) + freed)

    def promised(self, device: int) -> int:
        """Bytes that models may still take: 1. where this process's share can be measured, all they hold less that;
        2. else what loads in progress were promised."""
        held = [holding for holding in self._holdings.values() if holding.device == device]
        resident = self._readings[device].resident_bytes
        if resident is not None:  # 1.
            return max(0, sum(holding.bytes for holding in held) - resident)
        return sum(holding.bytes for holding in held if not holding.settled)  # 2.

    def reserve(self, model: str, *, device: int, needed: int, leaving: Collection[str] = ()) -> None:
        """Promise memory to a load, counting on what the models that are `leaving` will free.

        Raises NeverFits where the device is too small in all, InsufficientMemory where it is too full now.
        """
        total = self._readings[device].total_bytes
        if needed > total:
            numbers = {"needed_bytes": needed, "total_bytes": total}
            raise NeverFits(
                f"{model} needs {_mb(needed)}, and device {device} has {_mb(total)} in all; choose a smaller "
                "quantisation or context_length.",
                extras=numbers,
            )
        free = self.room(device, leaving=leaving)
        if needed > free:
            numbers = {"needed_bytes": needed, "free_bytes": free}
            raise InsufficientMemory(
                f"{model} needs {_mb(needed)}, and device {device} has {_mb(free)} free; unload a model first.",
                extras=numbers,
            )
        self._holdings[model] = Holding(device=device, bytes=needed)

    def settle(self, model: str, actual: int) -> None:
        """The load is done and takes `actual` bytes."""
        self._holdings[model] = msgspec.structs.replace(self._holdings[model], bytes=actual, settled=True)

    def strand(self, model: str) -> str:
        """The memory of a model whose engine does not come back: it stays held, under a name that no load has. Gives
        the name, for `release`."""
        name = f"{model} (stuck {len(self._holdings)})"
        if (held := self._holdings.pop(model, None)) is not None:
            self._holdings[name] = held
        return name

    def release(self, model: str) -> None:
        """The model is gone; one that holds nothing is fine."""
        self._holdings.pop(model, None)

    def health(self) -> tuple[DeviceHealth, ...]:
        """The figures of all devices for the wire."""
        return tuple(self._health(self._readings[index]) for index in self.devices)

    def _health(self, reading: Reading) -> DeviceHealth:
        return DeviceHealth(
            index=reading.index,
            vram_used_mb=max(0, reading.total_bytes - reading.free_bytes) // MIB,
            vram_free_mb=reading.free_bytes // MIB,
            reserved_mb=self.promised(reading.index) // MIB,
            utilization_pct=reading.utilization_pct,
            temp_c=reading.temp_c,
        )


def _mb(size: int) -> str:
    return f"{size / MIB:,.0f} MB"
