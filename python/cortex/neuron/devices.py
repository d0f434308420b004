"""Devices of this host: GPUs by NVML where driver and engine have them, else the CPU with the RAM it may use."""

import importlib
from typing import Any, Protocol

import msgspec

from cortex.neuron.host_memory import HostMemory
from cortex.protocol import DeviceInfo

__all__ = ["MIB", "CpuDevice", "DeviceFacts", "Devices", "NvmlDevices", "Reading", "find_devices"]

MIB = 1024 * 1024


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """Live figures of one device. `resident_bytes` is what this process has there; None = nobody can tell."""

    index: int
    total_bytes: int
    free_bytes: int
    resident_bytes: int | None = None
    utilization_pct: int | None = None
    temp_c: int | None = None


class DeviceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What does not change while the daemon runs."""

    devices: tuple[DeviceInfo, ...]
    cuda_version: str | None = None
    driver_version: str | None = None
    cuda_unavailable_reason: str | None = None


class Devices(Protocol):
    """The devices that models may use."""

    @property
    def facts(self) -> DeviceFacts: ...

    def measure(self) -> tuple[Reading, ...]:
        """Live figures, one for each device; blocks, so it belongs in a thread."""
        ...


class CpuDevice:
    """The CPU as device 0. `cap_bytes` bounds what models may take of its RAM."""

    def __init__(self, memory: HostMemory, *, cap_bytes: int | None = None, facts: DeviceFacts | None = None) -> None:
        self._memory = memory
        self._cap = cap_bytes
        self._baseline = memory.resident_bytes()
        total = self.measure()[0].total_bytes
        device = DeviceInfo(index=0, name=memory.cpu_name(), kind="cpu", vram_total_mb=total // MIB)
        self.facts = msgspec.structs.replace(facts or DeviceFacts(devices=()), devices=(device,))

    def measure(self) -> tuple[Reading, ...]:
        """RAM as the cgroup allows it. The daemon's own size at its start counts for no model."""
        total, free = self._memory.total_and_free()
        resident = max(0, self._memory.resident_bytes() - self._baseline)
        if self._cap is not None and self._cap < total:
            total, free = self._cap, min(free, max(0, self._cap - resident))
        return (Reading(index=0, total_bytes=total, free_bytes=free, resident_bytes=resident),)


class NvmlDevices:
    """The GPUs that NVML lists; `nvml` is the module pynvml after its init."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        devices = tuple(self._info(index, handle) for index, handle in enumerate(self._handles))
        self.facts = msgspec.structs.replace(_versions(nvml), devices=devices)

    def measure(self) -> tuple[Reading, ...]:
        """Memory, utilization and temperature; a figure that a card does not have is None."""
        return tuple(self._reading(index, handle) for index, handle in enumerate(self._handles))

    def _info(self, index: int, handle: Any) -> DeviceInfo:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        major, minor = self._nvml.nvmlDeviceGetCudaComputeCapability(handle)
        name = self._nvml.nvmlDeviceGetName(handle)
        return DeviceInfo(
            index=index,
            name=name.decode() if isinstance(name, bytes) else str(name),
            kind="cuda",
            vram_total_mb=int(memory.total) // MIB,
            compute_capability=f"{major}.{minor}",
        )

    def _reading(self, index: int, handle: Any) -> Reading:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        return Reading(
            index=index,
            total_bytes=int(memory.total),
            free_bytes=int(memory.free),
            utilization_pct=self._figure(lambda: self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
            temp_c=self._figure(lambda: self._nvml.nvmlDeviceGetTemperature(handle, self._nvml.NVML_TEMPERATURE_GPU)),
        )

    def _figure(self, read: Any) -> int | None:
        try:
            return int(read())
        except self._nvml.NVMLError:
            return None


def find_devices(*, cuda_built: bool, memory_mb: int | None = None, nvml: Any = None) -> Devices:
    """The devices that this engine can use. Numbers as in the code.

    1. A driver with GPUs, and an engine built for them: these. 2. No driver: the CPU. 3. A driver that does not answer,
    has no GPU, or an engine without CUDA: the CPU, and the reason. `nvml` is the module pynvml.
    """
    if nvml is None:
        nvml = importlib.import_module("pynvml")
    try:
        nvml.nvmlInit()
        count, facts = nvml.nvmlDeviceGetCount(), _versions(nvml)
    except nvml.NVMLError as error:
        absent = isinstance(error, nvml.NVMLError_LibraryNotFound)
        facts = DeviceFacts(devices=())
        reason = None if absent else f"the NVIDIA driver does not answer: {error}"  # 2.
    else:
        if count and cuda_built:
            return NvmlDevices(nvml)  # 1.
        unused = f"this engine is built without CUDA and does not use the {count} GPUs of this host"
        reason = unused if count else "the NVIDIA driver lists no GPU"  # 3.
    facts = msgspec.structs.replace(facts, cuda_unavailable_reason=reason)
    return CpuDevice(HostMemory(), cap_bytes=None if memory_mb is None else memory_mb * MIB, facts=facts)


def _versions(nvml: Any) -> DeviceFacts:
    cuda = int(nvml.nvmlSystemGetCudaDriverVersion_v2())
    driver = nvml.nvmlSystemGetDriverVersion()
    return DeviceFacts(
        devices=(),
        cuda_version=f"{cuda // 1000}.{cuda % 1000 // 10}",
        driver_version=driver.decode() if isinstance(driver, bytes) else str(driver),
    )
