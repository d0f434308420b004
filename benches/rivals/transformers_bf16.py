"""transformers for the comparison: the GGUF file's values in bf16, greedy, its own cache.

Run by benches.rivals, in the Python that has torch, transformers and gguf.
"""

import time
from collections.abc import AsyncGenerator
from pathlib import Path

import torch
import transformers

from benches.rivals import worker


class Transformers:
    """One model."""

    def __init__(self, path: str, threads: int, _context: int) -> None:
        torch.set_num_threads(threads)
        file = Path(path)
        load = transformers.AutoModelForCausalLM.from_pretrained
        self._model = load(file.parent, gguf_file=file.name, dtype=torch.bfloat16).eval()
        self.about = f"transformers {transformers.__version__}, torch {torch.__version__}, bf16, {threads} threads"

    async def generate(self, prompt: list[int], count: int) -> AsyncGenerator[int, None]:
        """See worker.Engine."""
        tokens, cache = torch.tensor([prompt]), None
        for _ in range(count):
            with torch.inference_mode():
                out = self._model(tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
            tokens, cache = out.logits[:, -1:].argmax(-1), out.past_key_values
            yield 1


if __name__ == "__main__":
    start = time.monotonic()
    worker.run(Transformers(*worker.arguments()), start)
