"""Figures: a host as it was when it was last looked at, and the metrics that are read off it for each scrape."""

from collections.abc import Callable, Iterator
from itertools import accumulate

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from cortex.engine import Distribution, EngineTimings
from cortex.protocol import DeviceHealth, ModelLoad

__all__ = ["EngineFigures", "Figures", "HostCollector"]

_COUNTERS = {
    "steps": "Forward passes.",
    "prefill_tokens": "Prompt tokens computed.",
    "decode_tokens": "Tokens generated.",
    "finished": "Requests that ended by stop or length.",
    "cancelled": "Requests that their owner left.",
    "preemptions": "Sequences that gave their KV blocks to others and were computed again.",
    "prefix_queries": "Prompt tokens looked up in the prefix cache.",
    "prefix_hits": "Prompt tokens found there.",
}
_GAUGES = {
    "running": "Sequences that hold KV blocks.",
    "waiting": "Requests that wait for their first step.",
    "blocks_used": "KV blocks of running sequences.",
    "blocks_cached": "KV blocks kept for prefix hits only.",
    "blocks_total": "KV blocks of the pool.",
    "last_step_age_seconds": "Since the engine's thread made progress; 0 while it has nothing to do.",
}
_DISTRIBUTIONS = {
    "time_to_first_token_seconds": "From submit to the first token.",
    "inter_token_seconds": "From a token to the next of its sequence.",
    "queue_seconds": "From submit to the first step that worked on the request.",
    "prefill_seconds": "From there to the first token.",
    "decode_seconds": "From the first token to the last.",
    "step_seconds": "One step: plan, forward pass, sampling.",
    "step_sequences": "Sequences (or texts to embed) in a step.",
    "step_tokens": "Tokens computed in a step.",
}


class EngineFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One engine: its numbers by name, and its distributions."""

    numbers: dict[str, float]
    timings: EngineTimings


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The host right now; `engines` are those of the loaded models by the model's name."""

    devices: tuple[DeviceHealth, ...] = ()
    models: tuple[ModelLoad, ...] = ()
    engines: dict[str, EngineFigures] = {}
    revision: int = 0


class HostCollector(Collector):
    """What is read off the host for each scrape, so that nothing of a model that left stays."""

    def __init__(self, figures: Callable[[], Figures]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """All of it."""
        figures = self._figures()
        yield GaugeMetricFamily("neuron_revision", "Changes of state since the start.", value=figures.revision)
        yield from _device_metrics(figures.devices)
        yield from _model_metrics(figures.models)
        yield from _engine_metrics(sorted(figures.engines.items()))


def _device_metrics(devices: tuple[DeviceHealth, ...]) -> Iterator[Metric]:
    for field in ("vram_used_mb", "vram_free_mb", "reserved_mb", "utilization_pct", "temp_c"):
        family = GaugeMetricFamily(f"neuron_device_{field}", "As in /health.", labels=["device"])
        for device in devices:
            if (value := getattr(device, field)) is not None:
                family.add_metric([str(device.index)], value)
        yield family


def _model_metrics(models: tuple[ModelLoad, ...]) -> Iterator[Metric]:
    for field in ("in_flight", "queue_depth", "max_in_flight", "max_queue_depth", "kv_blocks_used", "kv_blocks_total"):
        family = GaugeMetricFamily(f"neuron_model_{field}", "As in /health.", labels=["model"])
        for model in models:
            family.add_metric([model.id], getattr(model, field))
        yield family


def _engine_metrics(engines: list[tuple[str, EngineFigures]]) -> Iterator[Metric]:
    for family_of, texts in ((CounterMetricFamily, _COUNTERS), (GaugeMetricFamily, _GAUGES)):
        for name, text in texts.items():
            family = family_of(f"neuron_engine_{name}", text, labels=["model"])
            for model, engine in engines:
                family.add_metric([model], engine.numbers[name])
            yield family
    for name, text in _DISTRIBUTIONS.items():
        histogram = HistogramMetricFamily(f"neuron_engine_{name}", text, labels=["model"])
        for model, engine in engines:
            told: Distribution = getattr(engine.timings, name)
            histogram.add_metric([model], buckets=_buckets(told), sum_value=told.sum)
        yield histogram


def _buckets(told: Distribution) -> list[tuple[str, float]]:
    """As Prometheus has them: each counts all values up to its bound."""
    bounds = [*(str(bound) for bound in told.bounds), "+Inf"]
    return list(zip(bounds, map(float, accumulate(told.counts)), strict=True))
