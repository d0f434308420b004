"""The async face of the compiled engine; the only package that may import `cortex._native`."""

from cortex.engine.async_engine import AsyncEngine
from cortex.engine.embedded import Embedded
from cortex.engine.facts import (
    Defaults,
    Distribution,
    EngineStats,
    EngineTimings,
    Inspection,
    Machine,
    ModelFacts,
    StepWork,
    build_info,
    inspect_model,
    measure_machine,
)
from cortex.engine.loading import OnProgress
from cortex.engine.options import EngineSampling, LoadOptions

__all__ = [
    "AsyncEngine",
    "Defaults",
    "Distribution",
    "Embedded",
    "EngineSampling",
    "EngineStats",
    "EngineTimings",
    "Inspection",
    "LoadOptions",
    "Machine",
    "ModelFacts",
    "OnProgress",
    "StepWork",
    "build_info",
    "inspect_model",
    "measure_machine",
]
