"""The models of this host: their states and the one place that changes them, leases, and the revision of it all.

absent ──> fetching ──> loading ──> loaded ──> draining ──> unloading ──> absent
              │            │         │  ^─────────┘ (still in use)
              ├────────────┤         │
              v            v         v
           absent      failed(reason, until it is unloaded or a new load begins)

No I/O and no clock of its own. The revision counts changes of state, so that a plan made before one is known to be old;
progress and leases change nothing that a plan rests on.
"""

import asyncio
import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from cortex.errors import CortexError, ModelLoading, ModelNotFound, ServiceUnavailable
from cortex.neuron.admission import Admission
from cortex.neuron.engines import Engine, Facts
from cortex.neuron.kinds import words
from cortex.protocol import LoadProgress, LoadRequest, ModelEntry
from cortex.types import ModelState

__all__ = ["ON_THE_WAY", "Model", "Models", "Serving"]

ON_THE_WAY = frozenset({ModelState.FETCHING, ModelState.LOADING})
_S = ModelState
_MOVES = {
    _S.ABSENT: {_S.FETCHING},
    _S.FETCHING: {_S.LOADING, _S.FAILED, _S.ABSENT},
    _S.LOADING: {_S.LOADED, _S.FAILED, _S.ABSENT},
    _S.LOADED: {_S.DRAINING, _S.FAILED},
    _S.DRAINING: {_S.LOADED, _S.UNLOADING},
    _S.UNLOADING: {_S.ABSENT},
    _S.FAILED: {_S.ABSENT},
}
_FAILED_LIMIT = 64
_NEAR = 3


class Serving(msgspec.Struct, frozen=True):
    """What a loaded model serves with; `capabilities` are those of `dialects.neutral.require_supported`."""

    engine: Engine
    admission: Admission
    capabilities: frozenset[str]


class Model:
    """One model. Only `Models` changes it."""

    def __init__(self, spec: LoadRequest) -> None:
        self.spec = spec
        self.state = ModelState.ABSENT
        self.device = 0
        self.bytes = 0
        self.least_bytes = 0
        self.leases = 0
        self.progress: LoadProgress | None = None
        self.error: CortexError | None = None
        self.last_used: float | None = None
        self.loaded_at: float | None = None
        self.serving: Serving | None = None
        self.idle = asyncio.Event()
        self.idle.set()

    @property
    def id(self) -> str:
        """The name under which it is asked for."""
        return self.spec.model_id

    def entry(self) -> ModelEntry:
        """The model as the wire shows it."""
        facts = self.serving.engine.facts if self.serving is not None else None
        loaded = self.state in (ModelState.LOADED, ModelState.DRAINING)
        return ModelEntry(
            id=self.id,
            status=self.state,
            harness=self.spec.harness,
            quant=facts.quantisation if facts is not None else self.spec.quant,
            devices=(self.device,),
            vram_used_mb=self.bytes // (1 << 20) if loaded else None,
            bytes=self.bytes,
            least_bytes=self.least_bytes,
            in_flight=self.leases,
            last_used=self.last_used,
            loaded_at=self.loaded_at,
            progress=self.progress,
            error=self.error.message if self.error is not None else None,
            error_code=self.error.code if self.error is not None else None,
            context_length=facts.context_length if facts is not None else None,
            max_input_tokens=_longest_input(facts) if facts is not None else None,
            capabilities=self._capabilities() if loaded else (),
            architecture=facts.architecture if facts is not None else None,
        )

    def _capabilities(self) -> tuple[str, ...]:
        serving = self.serving
        return words(serving.engine, serving.capabilities) if serving is not None else ()


class Models:
    """All models of the host. `on_change` hears each new entry, also progress; `now` gives Unix seconds."""

    def __init__(self, *, now: Callable[[], float], on_change: Callable[[ModelEntry], None]) -> None:
        self._now = now
        self._on_change = on_change
        self._models: dict[str, Model] = {}
        self.revision = 0

    def __iter__(self) -> Iterator[Model]:
        return iter(sorted(self._models.values(), key=lambda model: model.id))

    def get(self, name: str) -> Model | None:
        """The model of that id, in whatever state."""
        return self._models.get(name)

    def find(self, name: str) -> Model:
        """The model of that id; raises ModelNotFound with near names."""
        model = self._models.get(name)
        if model is None:
            raise self.unknown(name)
        return model

    def unknown(self, name: str) -> ModelNotFound:
        """The error for a name that is not here."""
        shown = {known.lower(): known for known in self._models}
        shown.update({known.lower().rpartition("/")[2]: known for known in self._models})
        wanted = name[:200].lower()
        close = difflib.get_close_matches(wanted, shown, n=_NEAR, cutoff=0.6)
        begin = [known for known in shown if wanted and (known.startswith(wanted) or wanted.startswith(known))]
        near = list(dict.fromkeys(shown[found] for found in (*close, *begin)))[:_NEAR]
        advice = f"did you mean {' or '.join(near)}?" if near else "GET /models lists what is here."
        return ModelNotFound(
            f"The model {name[:200]!r} is not on this host; {advice}", param="model", extras={"nearest": near}
        )

    def serving(self, name: str) -> tuple[Model, Serving]:
        """A model that may be asked. Raises ModelNotFound, ModelLoading, ServiceUnavailable."""
        model = self.find(name)
        if model.state is ModelState.LOADED and model.serving is not None:
            return model, model.serving
        if model.state in ON_THE_WAY:
            raise ModelLoading(f"The model {model.id} is still loading.", extras={"loading": _loading(model)})
        if model.state is ModelState.FAILED and model.error is not None:
            raise ServiceUnavailable(f"The model {model.id} is not loaded: {model.error.message}")
        raise ServiceUnavailable(f"The model {model.id} is being unloaded.", retry_after=1.0)

    @contextmanager
    def lease(self, model: Model) -> Iterator[None]:
        """One use of the model: as long as there is one, it is not unloaded."""
        model.leases += 1
        model.idle.clear()
        try:
            yield
        finally:
            model.leases -= 1
            model.last_used = self._now()
            if model.leases == 0:
                model.idle.set()

    def begin(self, spec: LoadRequest) -> Model:
        """Start a load: a new record, on its way."""
        old = self._models.get(spec.model_id)
        assert old is None or old.state is ModelState.FAILED, "one record a model"
        model = self._models[spec.model_id] = Model(spec)
        self.move(model, ModelState.FETCHING)
        return model

    def move(self, model: Model, state: ModelState) -> None:
        """The one place where a state changes. A model that becomes absent is forgotten."""
        assert state in _MOVES[model.state], f"{model.id}: {model.state} does not become {state}"
        model.state = state
        self.revision += 1
        if state not in ON_THE_WAY:
            model.progress = None
        if state is ModelState.ABSENT:
            self._models.pop(model.id, None)
        self._on_change(model.entry())

    def loaded(self, model: Model, serving: Serving, size: int) -> None:
        """The load is done."""
        model.serving, model.bytes, model.loaded_at = serving, size, self._now()
        self.move(model, ModelState.LOADED)

    def failed(self, model: Model, error: CortexError) -> None:
        """The load, or the engine, failed; the reason stays to be seen until the next load."""
        model.error, model.serving, model.bytes = error, None, 0
        self.move(model, ModelState.FAILED)
        others = [other for other in self._models.values() if other.state is ModelState.FAILED]
        for oldest in others[:-_FAILED_LIMIT]:
            self.move(oldest, ModelState.ABSENT)

    def progressed(self, model: Model, progress: LoadProgress) -> None:
        """A load came further; nobody hears of progress that is none."""
        if progress != model.progress:
            model.progress = progress
            self._on_change(model.entry())


def _longest_input(facts: Facts) -> int:
    """An answer needs room for a token; an embedding has none."""
    return facts.context_length - (facts.kind == "generate")


def _loading(model: Model) -> dict[str, Any]:
    """What the error of a request for a loading model says about the load."""
    progress = model.progress
    told: dict[str, Any] = {"state": model.state.value}
    if progress is not None:
        told["progress"] = progress.done_bytes / progress.total_bytes if progress.total_bytes else None
        told["eta_seconds"] = progress.eta_seconds
    return {name: value for name, value in told.items() if value is not None}
