"""Devices and memory: cgroups of both versions, GPUs by NVML, and the ledger that promises nothing twice."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from cortex.errors import InsufficientMemory, NeverFits
from cortex.neuron.devices import MIB, CpuDevice, NvmlDevices, Reading, find_devices
from cortex.neuron.host_memory import HostMemory
from cortex.neuron.memory import Ledger
from cortex.neuron.progress import Progress
from cortex.neuron.sizing import Header, actual_size, choose_size

GIB = 1024 * MIB


def machine(root: Path, files: dict[str, str]) -> HostMemory:
    """A machine of 64 GiB with 48 free, whose process has 100 MiB, and these further files."""
    usual = {
        "proc/meminfo": "MemTotal:       67108864 kB\nMemFree:        1 kB\nMemAvailable:   50331648 kB\n",
        "proc/self/status": "Name:\tneuron\nVmRSS:\t  204800 kB\nRssAnon:\t  102400 kB\n",
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: Some CPU\n",
    }
    for name, text in {**usual, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return HostMemory(root)


def test_without_cgroups_the_machine_counts(tmp_path: Path) -> None:
    memory = machine(tmp_path, {})
    assert memory.total_and_free() == (64 * GIB, 48 * GIB)
    assert memory.resident_bytes() == 100 * MIB
    assert memory.cpu_name().startswith("Some CPU (")


def test_version_2_counts_the_tightest_group_above_and_not_its_file_cache(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/system.slice/neuron.service\n",
        "sys/fs/cgroup/system.slice/memory.max": f"{32 * GIB}\n",
        "sys/fs/cgroup/system.slice/memory.current": f"{20 * GIB}\n",
        "sys/fs/cgroup/system.slice/memory.stat": f"anon 1\ninactive_file {4 * GIB}\n",
        "sys/fs/cgroup/system.slice/neuron.service/memory.max": "max\n",
        "sys/fs/cgroup/system.slice/neuron.service/memory.current": f"{1 * GIB}\n",
    }
    assert machine(tmp_path, files).total_and_free() == (32 * GIB, 16 * GIB)


def test_version_1_in_a_container_finds_its_limit_at_the_top(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "9:name=systemd:/\n4:memory,x:/docker/0123\n0::/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{8 * GIB}\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{3 * GIB}\n",
        "sys/fs/cgroup/memory/memory.stat": f"cache 5\ntotal_inactive_file {2 * GIB}\n",
    }
    assert machine(tmp_path, files).total_and_free() == (8 * GIB, 7 * GIB)


def test_version_1_without_a_limit_is_no_limit(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "4:memory:/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{3 * GIB}\n",
    }
    assert machine(tmp_path, files).total_and_free() == (64 * GIB, 48 * GIB)


def test_a_cap_bounds_what_models_may_take(tmp_path: Path) -> None:
    device = CpuDevice(machine(tmp_path, {}), cap_bytes=2 * GIB)
    assert device.facts.devices[0].vram_total_mb == 2048
    machine(tmp_path, {"proc/self/status": f"RssAnon:\t {(100 + 512) * 1024} kB\n"})
    reading = device.measure()[0]
    assert (reading.total_bytes, reading.free_bytes, reading.resident_bytes) == (2 * GIB, 1536 * MIB, 512 * MIB)


class NoDriver(Exception):
    pass


class OtherError(NoDriver):
    pass


def nvml(*, count: int = 2, error: Exception | None = None) -> Any:
    """What of pynvml is used, for cards of 80 GiB of which the second has no thermometer."""

    def init() -> None:
        if error is not None:
            raise error

    def temperature(handle: int, _kind: int) -> int:
        if handle == 1:
            raise OtherError
        return 41

    return SimpleNamespace(
        NVMLError=NoDriver,
        NVMLError_LibraryNotFound=type("Absent", (NoDriver,), {}),
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=init,
        nvmlDeviceGetCount=lambda: count,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda _handle: SimpleNamespace(total=80 * GIB, free=70 * GIB, used=10 * GIB),
        nvmlDeviceGetCudaComputeCapability=lambda _handle: (9, 0),
        nvmlDeviceGetName=lambda handle: b"Card" if handle else "Card",
        nvmlDeviceGetUtilizationRates=lambda _handle: SimpleNamespace(gpu=7),
        nvmlDeviceGetTemperature=temperature,
        nvmlSystemGetDriverVersion=lambda: "580.95",
        nvmlSystemGetCudaDriverVersion_v2=lambda: 13010,
    )


def test_gpus_are_the_devices_of_an_engine_that_is_built_for_them() -> None:
    devices = find_devices(cuda_built=True, nvml=nvml())
    assert isinstance(devices, NvmlDevices)
    assert [(one.index, one.name, one.kind, one.vram_total_mb) for one in devices.facts.devices] == [
        (0, "Card", "cuda", 81920),
        (1, "Card", "cuda", 81920),
    ]
    assert devices.facts.devices[0].compute_capability == "9.0"
    assert (devices.facts.cuda_version, devices.facts.driver_version) == ("13.1", "580.95")
    first, second = devices.measure()
    assert (first.free_bytes, first.utilization_pct, first.temp_c) == (70 * GIB, 7, 41)
    assert second.temp_c is None


@pytest.mark.parametrize(
    ("found", "cuda_built", "reason"),
    [
        (nvml(), False, "built without CUDA"),
        (nvml(count=0), True, "lists no GPU"),
        (nvml(error=OtherError("versions differ")), True, "versions differ"),
        (nvml(error=nvml().NVMLError_LibraryNotFound("x")), True, "x"),
    ],
)
def test_else_the_cpu_is_the_device_and_the_reason_is_told(found: Any, cuda_built: bool, reason: str) -> None:
    facts = find_devices(cuda_built=cuda_built, memory_mb=512, nvml=found).facts
    assert [(one.kind, one.vram_total_mb) for one in facts.devices] == [("cpu", 512)]
    assert reason in (facts.cuda_unavailable_reason or "")


def test_a_host_without_a_driver_needs_no_reason() -> None:
    found = nvml()
    found.nvmlInit = lambda: (_ for _ in ()).throw(found.NVMLError_LibraryNotFound("none"))
    assert find_devices(cuda_built=True, nvml=found).facts.cuda_unavailable_reason is None


def reading(free_mb: int, *, resident_mb: int | None = 0, total_mb: int = 1000) -> tuple[Reading, ...]:
    resident = None if resident_mb is None else resident_mb * MIB
    return (Reading(index=0, total_bytes=total_mb * MIB, free_bytes=free_mb * MIB, resident_bytes=resident),)


def test_what_is_promised_and_not_yet_taken_is_not_free() -> None:
    ledger = Ledger(reading(1000))
    ledger.reserve("a", device=0, needed=400 * MIB)
    assert ledger.available(0) == 600 * MIB
    ledger.measured(reading(750, resident_mb=250))  # its weights are there, its KV pool is not
    assert ledger.available(0) == 600 * MIB
    ledger.settle("a", 400 * MIB)
    assert ledger.promised(0) == 150 * MIB
    with pytest.raises(InsufficientMemory) as caught:
        ledger.reserve("b", device=0, needed=700 * MIB)
    assert caught.value.extras == {"needed_bytes": 700 * MIB, "free_bytes": 600 * MIB}
    ledger.reserve("b", device=0, needed=700 * MIB, leaving=["a"])
    with pytest.raises(InsufficientMemory) as caught:
        ledger.reserve("c", device=0, needed=400 * MIB, leaving=["a"])  # a's memory is spoken for
    assert caught.value.extras["free_bytes"] == 300 * MIB
    ledger.release("a")
    assert ledger.available(0) == 300 * MIB


def test_where_the_process_cannot_be_measured_loads_in_progress_are_promised() -> None:
    ledger = Ledger(reading(1000, resident_mb=None))
    ledger.reserve("a", device=0, needed=400 * MIB)
    assert ledger.available(0) == 600 * MIB
    ledger.measured(reading(600, resident_mb=None))
    ledger.settle("a", 400 * MIB)
    assert ledger.available(0) == 600 * MIB


def test_memory_of_others_is_not_free() -> None:
    ledger = Ledger(reading(300))
    with pytest.raises(InsufficientMemory):
        ledger.reserve("a", device=0, needed=400 * MIB)
    with pytest.raises(NeverFits):
        ledger.reserve("a", device=0, needed=1001 * MIB)
    assert ledger.holding("a") is None


HEADER = Header(
    architecture="llama", context_length=8192, weights_bytes=100 * MIB, kv_bytes_per_token=16384, work_bytes=20 * MIB
)


@pytest.mark.parametrize(
    ("options", "kv_mb"),
    [
        ({"free": 10 * GIB}, 512),  # four contexts of 128 MB
        ({"free": 10 * GIB, "max_sequences": 1}, 128),
        ({"free": 10 * GIB, "kv_bytes": 7 * MIB}, 7),
        ({"free": 0, "kv_bytes": 7 * MIB}, 7),
        ({"free": 420 * MIB}, 280),
        ({"free": 130 * MIB}, 64),  # the floor: 4,096 tokens
        ({"free": 130 * MIB, "context_asked": True}, 128),
    ],
)
def test_the_kv_pool_is_a_few_contexts_or_what_is_free(options: dict[str, Any], kv_mb: int) -> None:
    size = choose_size(HEADER, **{"max_sequences": 32, **options})
    assert size.kv_bytes == kv_mb * MIB
    assert size.total_bytes == pytest.approx((120 + kv_mb) * MIB * 1.05, abs=1)


@pytest.mark.parametrize(
    ("options", "kv_mb"),
    [({"free": 10 * GIB}, 64), ({"free": 10 * GIB, "context_asked": True}, 128), ({"free": 0, "kv_bytes": 7 * MIB}, 7)],
)
def test_the_least_that_a_model_takes_does_not_depend_on_what_is_free(options: dict[str, Any], kv_mb: int) -> None:
    least = choose_size(HEADER, **{"max_sequences": 32, **options}).least_bytes
    assert least == pytest.approx((120 + kv_mb) * MIB * 1.05, abs=1)


def test_states_of_all_sequences_come_on_top_of_the_pool() -> None:
    hybrid = msgspec.structs.replace(HEADER, state_bytes=5 * MIB)
    size = choose_size(hybrid, free=10 * GIB, max_sequences=32, kv_bytes=7 * MIB)
    assert (size.kv_bytes, size.state_bytes) == (7 * MIB, 160 * MIB)
    assert size.total_bytes == size.least_bytes == pytest.approx((120 + 7 + 160) * MIB * 1.05, abs=1)
    assert actual_size(size, weights_bytes=90 * MIB, kv_bytes=7 * MIB) == size.total_bytes - 10.5 * MIB
    assert choose_size(hybrid, free=580 * MIB, max_sequences=32).kv_bytes < 280 * MIB


def test_an_estimate_is_given_once_it_can_be_measured() -> None:
    now = 0.0
    progress = Progress(lambda: now)
    progress.set("fetch", 100, 1100)
    assert progress.read().eta_seconds is None
    now = 0.5
    progress.set("fetch", 200, 1100)
    assert progress.read().eta_seconds is None
    now = 2.0
    progress.set("fetch", 600, 1100)
    assert progress.read().eta_seconds == 2.0
    progress.set("weights", 10, 100)
    assert progress.read().eta_seconds is None
