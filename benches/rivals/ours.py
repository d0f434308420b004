"""Our engine for the comparison, through `cortex.engine`. Run by benches.rivals."""

import time
from collections.abc import AsyncGenerator
from pathlib import Path

import uvloop

from benches.rivals import worker
from cortex.engine import AsyncEngine, EngineSampling, LoadOptions


class Ours:
    """One loaded model."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        facts = engine.facts
        self.about = f"{facts.name} {facts.quantisation}, {facts.simd}, {facts.threads} threads"

    async def generate(self, prompt: list[int], count: int) -> AsyncGenerator[int, None]:
        """See worker.Engine."""
        sampling = EngineSampling(max_tokens=count, temperature=0.0, ignore_eos=True)
        async for event in self._engine.generate(self._engine.prompt(prompt), sampling):
            yield event.tokens


async def main() -> None:
    """Load, then serve."""
    start = time.monotonic()
    path, threads, context = worker.arguments()
    options = LoadOptions(context_length=context, max_sequences=1, threads=threads)
    engine = await AsyncEngine.load(Path(path), options)
    await worker.serve(Ours(engine), start)
    await engine.close()


if __name__ == "__main__":
    uvloop.run(main())
