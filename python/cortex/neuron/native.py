"""Native engines: the compiled engine behind the face that the neuron asks of one."""

from pathlib import Path
from typing import Any

from cortex.engine import AsyncEngine, LoadOptions, build_info, inspect_model
from cortex.neuron.engines import Engine, LoadPlan
from cortex.neuron.progress import Progress
from cortex.neuron.sizing import Header

__all__ = ["NativeEngines"]


class NativeEngines:
    """Makes engines on the CPU, which is device 0."""

    def build(self) -> dict[str, Any]:
        """What the engine was built from and for."""
        return build_info()

    async def inspect(self, path: Path, *, context_length: int | None, quant: str | None = None) -> Header:
        """Read the header. Raises SourceNotFound, ModelFileInvalid, UnsupportedModel, InvalidField."""
        found = await inspect_model(path, context_length=context_length, quant=quant)
        return Header(
            architecture=found.architecture,
            context_length=found.context_length,
            weights_bytes=found.weights_bytes,
            kv_bytes_per_token=found.kv_bytes_per_token,
            state_bytes=found.state_bytes,
            work_bytes=found.work_bytes,
            embeds=found.kind == "embed",
        )

    async def load(self, plan: LoadPlan, progress: Progress) -> Engine:
        """Load a model; the neuron queues for it, so the engine needs room only for what is about to run."""
        assert plan.device == 0, "the CPU is the only device"
        options = LoadOptions(
            context_length=plan.context_length,
            max_sequences=plan.max_sequences,
            max_waiting=plan.max_sequences,
            kv_bytes=plan.kv_bytes,
            threads=plan.threads,
            step_tokens=plan.step_tokens,
            quant=plan.quant,
        )
        return await AsyncEngine.load(plan.path, options, on_progress=progress.set)
