"""Metrics: what this host counts, and Meter: the figures of one request, written down once when it ends.

Labels are bounded: only models that are here have their name in one, and no more than a number of them.
"""

import logging
import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram

from cortex import logs
from cortex.http import UNKNOWN_MODEL, ModelLabels
from cortex.neuron.figures import Figures, HostCollector
from cortex.types import Usage

__all__ = ["Meter", "Metrics"]

_log = logging.getLogger("cortex.neuron")
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
_RATE = (1, 2, 5, 10, 20, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000)
_LOAD = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 7200.0)


class Meter:
    """One request. Times are monotonic seconds; `finish` writes everything down, the first call counts."""

    def __init__(self, metrics: "Metrics", route: str, request_id: str) -> None:
        self._metrics = metrics
        self.route = route
        self.request_id = request_id
        self.model = UNKNOWN_MODEL
        self.started = time.monotonic()
        self.first_token: float | None = None
        self.usage = Usage()
        self.queue_seconds = 0.0
        self.decode_seconds = 0.0
        self.outcome: str | None = None

    def token(self) -> None:
        """Something generated is there."""
        if self.first_token is None:
            self.first_token = time.monotonic()

    def sequence(self, usage: Usage, *, queue_seconds: float = 0.0, decode_seconds: float = 0.0) -> None:
        """One of its sequences ended."""
        self.usage = Usage(
            prompt_tokens=self.usage.prompt_tokens + usage.prompt_tokens,
            completion_tokens=self.usage.completion_tokens + usage.completion_tokens,
            cached_tokens=self.usage.cached_tokens + usage.cached_tokens,
        )
        self.queue_seconds = max(self.queue_seconds, queue_seconds)
        self.decode_seconds = max(self.decode_seconds, decode_seconds)

    def finish(self, outcome: str) -> None:
        """The request ended: `ok`, `cancelled`, or the code of an error."""
        if self.outcome is None:
            self.outcome = outcome
            self._metrics.ended(self, time.monotonic() - self.started)


class Metrics:
    """The registry and its families. `figures` is the host as it was last seen: the text is made in a thread, which
    must not look at what the loop owns."""

    def __init__(self) -> None:
        self.figures = Figures()
        self.registry = CollectorRegistry()
        self._label = ModelLabels()
        counter, histogram = self._counter, self._histogram
        self._requests = counter("requests", "Requests, by how they ended.", ("model", "route", "outcome"))
        self._prompt = counter("prompt_tokens", "Tokens of prompts.", ("model",))
        self._completion = counter("completion_tokens", "Generated tokens.", ("model",))
        self._cached = counter("cached_prompt_tokens", "Tokens of prompts that a prefix hit saved.", ("model",))
        self._ttft = histogram("time_to_first_token_seconds", "To the first generated token.", _SECONDS)
        self._queue = histogram("queue_seconds", "Waiting for a place and for the engine.", _SECONDS)
        self._duration = histogram("request_duration_seconds", "To the last token.", _SECONDS)
        self._rate = histogram("tokens_per_second", "Generated tokens a second after the first.", _RATE)
        self._loads = counter("model_loads", "Loads, by how they ended.", ("model", "outcome"))
        self._load_seconds = histogram("model_load_seconds", "Loads that ended well.", _LOAD)
        self._unloads = counter("model_unloads", "Unloads, by why.", ("model", "reason"))
        self.registry.register(HostCollector(lambda: self.figures))

    def begin(self, route: str, request_id: str) -> Meter:
        """A request came in."""
        return Meter(self, route, request_id)

    def ended(self, meter: Meter, seconds: float) -> None:
        """Write a request's figures down (called by its meter)."""
        model, usage = self._label(meter.model), meter.usage
        self._requests.labels(model, meter.route, meter.outcome).inc()
        self._duration.labels(model).observe(seconds)
        self._prompt.labels(model).inc(usage.prompt_tokens)
        self._completion.labels(model).inc(usage.completion_tokens)
        self._cached.labels(model).inc(usage.cached_tokens)
        if meter.first_token is not None:
            self._ttft.labels(model).observe(meter.first_token - meter.started)
            self._queue.labels(model).observe(meter.queue_seconds)
        logs.event(
            _log,
            logging.INFO,
            "request ended",
            id=meter.request_id,
            model=model,
            route=meter.route,
            outcome=meter.outcome,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            seconds=round(seconds, 3),
        )
        if usage.completion_tokens > 1 and meter.decode_seconds > 0:
            self._rate.labels(model).observe((usage.completion_tokens - 1) / meter.decode_seconds)

    def loaded(self, model: str, *, seconds: float) -> None:
        """A load ended well."""
        self._loads.labels(self._label(model), "ok").inc()
        self._load_seconds.labels(self._label(model)).observe(seconds)

    def load_failed(self, model: str, outcome: str) -> None:
        """A load failed; `outcome` is the error's code."""
        self._loads.labels(self._label(model), outcome).inc()

    def unloaded(self, model: str, reason: str) -> None:
        """A model left: asked, evicted or failed."""
        self._unloads.labels(self._label(model), reason).inc()

    def _counter(self, name: str, text: str, labels: Iterable[str]) -> Counter:
        return Counter(f"neuron_{name}", text, tuple(labels), registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"neuron_{name}", text, ("model",), buckets=buckets, registry=self.registry)
