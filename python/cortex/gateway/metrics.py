"""Metrics: what the gateway counts, and Meter: the figures of one request, written down once when it ends.

Labels are bounded: hosts are the configured ones, unknown models share one name, and beyond a number of models the
rest share another. Nothing is looked up per chunk.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cortex import logs
from cortex.errors import CortexError
from cortex.fleet.state import Fleet, Reach
from cortex.gateway.access import Caller, caller
from cortex.gateway.ledger import Ledger
from cortex.gateway.quotas import Quotas
from cortex.http import MODELS_LIMIT, UNKNOWN_MODEL, ModelLabels
from cortex.types import ModelState, Usage

__all__ = ["NO_HOST", "Meter", "Metrics"]

_log = logging.getLogger("cortex.gateway")
NO_HOST = "none"
_TTFT = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 180.0)
_DURATION = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 240.0, 600.0)
_RATE = (1, 2, 5, 10, 20, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000)
_LOAD = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 7200.0)


class Meter:
    """One request. Times are monotonic seconds; `finish` writes everything down, the first call counts."""

    def __init__(self, metrics: "Metrics", api: str, caller: Caller) -> None:
        self._metrics = metrics
        self.api = api
        self.caller = caller
        self.admitted = False
        self.ledger_id = ""
        self.leased: float | None = None
        self.model = UNKNOWN_MODEL
        self.neuron = NO_HOST
        self.cold = False
        self.started = time.monotonic()
        self.first_token: float | None = None
        self.last_token: float | None = None
        self.usage: Usage | None = None
        self.outcome: str | None = None

    def finish(self, outcome: str) -> None:
        """The request ended: `ok`, `client_gone`, or the code of an error."""
        if self.outcome is None:
            self.outcome = outcome
            seconds = time.monotonic() - self.started
            self._metrics.ended(self, seconds)
            self._log(outcome, seconds)

    def _log(self, outcome: str, seconds: float) -> None:
        usage = self.usage
        logs.event(
            _log,
            logging.INFO,
            "request",
            api=self.api,
            key=self.caller.label,
            model=self.model,
            neuron=self.neuron,
            outcome=outcome,
            cold=self.cold or None,
            seconds=round(seconds, 4),
            ttft=None if self.first_token is None else round(self.first_token - self.started, 4),
            queued=None if self.leased is None else round(self.leased - self.started, 4),
            request_id=self.caller.request_id or None,
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
        )


class Metrics:
    """The registry and its families."""

    def __init__(self, fleet: Callable[[], Fleet]) -> None:
        self.registry = CollectorRegistry()
        self._label = ModelLabels()
        self._key_label = ModelLabels()
        self._quotas = Quotas(time.monotonic)
        self.ledger: Ledger | None = None
        self._fleet = fleet
        names = ("model", "neuron")
        api = (*names, "api")
        counter, histogram = self._counter, self._histogram
        self._requests = counter("requests", "Requests, by how they ended.", (*api, "outcome"))
        self._errors = counter("request_errors", "Requests that did not end well.", (*api, "outcome"))
        self._cold = counter("cold_starts", "Requests that had to wait for a load.", names)
        self._prompt = counter("prompt_tokens", "Tokens of prompts.", names)
        self._completion = counter("completion_tokens", "Generated tokens.", names)
        self._cached = counter("cached_prompt_tokens", "Tokens of prompts that a prefix hit saved.", names)
        self._ttft = histogram("time_to_first_token_seconds", "To the first generated token.", (*api, "start"), _TTFT)
        self._rate = histogram("tokens_per_second", "Generated tokens a second after the first.", names, _RATE)
        self._duration = histogram("request_duration_seconds", "To the last byte.", api, _DURATION)
        self._queue = histogram("queue_seconds", "To a place at a host, loads included.", (*names, "start"), _TTFT)
        self._loads = counter("model_loads", "Load jobs, by how they ended.", (*names, "outcome"))
        self._load_seconds = histogram("model_load_seconds", "Load jobs that ended well.", names, _LOAD)
        self._evictions = counter("evictions", "Models unloaded to make room.", (*names, "reason"))
        key = ("key",)
        self._key_requests = counter("key_requests", "Requests by the key's label.", ("key", "outcome"))
        self._key_prompt = counter("key_prompt_tokens", "Tokens of prompts by the key's label.", key)
        self._key_completion = counter("key_completion_tokens", "Generated tokens by the key's label.", key)
        self.in_flight = self._gauge("requests_in_flight", "Requests being answered.")
        self.waiting = self._gauge("requests_waiting", "Requests waiting for a load.")
        self.tasks = self._gauge("tasks", "Tasks of the event loop.")
        self.ledger_errors = counter("usage_ledger_errors", "Lines of the usage ledger that were lost.", ())
        build = self._gauge("build_info", "1; the label tells what runs.", ("version",))
        build.labels(version("helexa-cortex")).set(1)
        self.config_reloads = counter("config_reloads", "Files read anew, by how it ended.", ("file", "outcome"))
        stale = "1 = the file is wrong and an earlier one in force."
        self.config_stale = self._gauge("config_stale", stale, ("file",))
        self.registry.register(_FleetCollector(fleet))

    def begin(self, api: str) -> Meter:
        """A request came in, from whoever is being answered. Raises RateLimited where its key may not ask now; that
        is counted too."""
        self.in_flight.inc()
        meter = Meter(self, api, caller())
        try:
            self._quotas.enter(meter.caller)
        except CortexError as error:
            meter.finish(error.code)
            raise
        meter.admitted = True
        if self.ledger is not None:
            who = meter.caller
            meter.ledger_id = self.ledger.began(request_id=who.request_id, key=who.label, api=api)
        return meter

    def ended(self, meter: Meter, seconds: float) -> None:
        """Write a request's figures down (called by its meter)."""
        self.in_flight.dec()
        outcome = meter.outcome or "ok"
        model, neuron = self._label(meter.model), meter.neuron
        usage = meter.usage or Usage()
        if meter.admitted:
            self._quotas.leave(meter.caller, usage.total_tokens)
            self._book(meter, usage, seconds)
        key = self._key_label(meter.caller.label)
        self._key_requests.labels(key, outcome).inc()
        self._key_prompt.labels(key).inc(usage.prompt_tokens)
        self._key_completion.labels(key).inc(usage.completion_tokens)
        self._requests.labels(model, neuron, meter.api, outcome).inc()
        self._duration.labels(model, neuron, meter.api).observe(seconds)
        if outcome != "ok":
            self._errors.labels(model, neuron, meter.api, outcome).inc()
        if meter.leased is not None:
            self._queue.labels(model, neuron, "cold" if meter.cold else "warm").observe(meter.leased - meter.started)
        if meter.cold:
            self._cold.labels(model, neuron).inc()
        if meter.first_token is not None:
            start = "cold" if meter.cold else "warm"
            self._ttft.labels(model, neuron, meter.api, start).observe(meter.first_token - meter.started)
        if meter.usage is not None:
            self._count(meter, meter.usage, model)

    def loaded(self, model: str, neuron: str, *, seconds: float, evicted: Iterable[str]) -> None:
        """A load job ended well."""
        self._loads.labels(self._label(model), neuron, "ok").inc()
        self._load_seconds.labels(self._label(model), neuron).observe(seconds)
        for victim in evicted:
            self.evicted(victim, neuron, reason="memory")

    def evicted(self, model: str, neuron: str, *, reason: str) -> None:
        """A model had to leave: for `memory`, or because it was `idle`."""
        self._evictions.labels(self._label(model), neuron, reason).inc()

    def load_failed(self, model: str, neuron: str, *, outcome: str) -> None:
        """A load job failed."""
        self._loads.labels(self._label(model), neuron, outcome).inc()

    def _book(self, meter: Meter, usage: Usage, seconds: float) -> None:
        """The request's line in the ledger."""
        if self.ledger is not None and meter.ledger_id:
            self.ledger.ended(
                meter.ledger_id,
                usage=usage,
                request_id=meter.caller.request_id,
                key=meter.caller.label,
                api=meter.api,
                model=meter.model,
                neuron=meter.neuron,
                outcome=meter.outcome,
                seconds=round(seconds, 4),
            )

    def _count(self, meter: Meter, usage: Usage, model: str) -> None:
        self._prompt.labels(model, meter.neuron).inc(usage.prompt_tokens)
        self._completion.labels(model, meter.neuron).inc(usage.completion_tokens)
        self._cached.labels(model, meter.neuron).inc(usage.cached_tokens)
        if meter.first_token is not None and meter.last_token is not None and usage.completion_tokens > 1:
            seconds = meter.last_token - meter.first_token
            if seconds > 0:
                self._rate.labels(model, meter.neuron).observe((usage.completion_tokens - 1) / seconds)

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(f"cortex_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(f"cortex_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"cortex_{name}", text, labels, buckets=buckets, registry=self.registry)


class _FleetCollector(Collector):
    """Gauges read off the fleet's value at scrape time, so that nothing of a host or model that left stays."""

    def __init__(self, fleet: Callable[[], Fleet]) -> None:
        self._fleet = fleet

    def collect(self) -> Iterator[Metric]:
        """All gauges of the fleet as it is now; safe in the scrape's thread, since the value never changes."""
        fleet = self._fleet()
        up = GaugeMetricFamily("cortex_neuron_up", "Whether the host answers.", labels=["neuron"])
        there = GaugeMetricFamily("cortex_model_loaded", "Whether the model is loaded.", labels=["model", "neuron"])
        busy = GaugeMetricFamily("cortex_model_in_flight", "Requests of the model.", labels=["model", "neuron"])
        total = GaugeMetricFamily("cortex_device_memory_bytes", "Memory.", labels=["neuron", "device"])
        free = GaugeMetricFamily("cortex_device_free_bytes", "Free memory.", labels=["neuron", "device"])
        for host in fleet.hosts.values():
            up.add_metric([host.name], float(host.reach is Reach.UP))
            for model in sorted(host.models)[:MODELS_LIMIT]:
                there.add_metric([model, host.name], float(host.has(model, ModelState.LOADED)))
                busy.add_metric([model, host.name], host.busy(model))
            for device in host.devices:
                labels = [host.name, str(device.index)]
                total.add_metric(labels, device.total_bytes)
                if device.free_bytes is not None:
                    free.add_metric(labels, device.free_bytes)
        yield from (up, there, busy, total, free)
