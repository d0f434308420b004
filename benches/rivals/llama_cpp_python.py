"""llama.cpp for the comparison, through the C interface that llama-cpp-python binds: its own loop, its own sampler.

Run by benches.rivals, in the Python that has llama-cpp-python.
"""

import ctypes
import time
from collections.abc import AsyncGenerator

import llama_cpp

from benches.rivals import worker


@llama_cpp.llama_log_callback
def quiet(_level: int, _text: bytes, _data: ctypes.c_void_p) -> None:
    """Drop what the library says."""


class LlamaCpp:
    """One model and one context, with the library's own defaults but for threads and context length."""

    def __init__(self, path: str, threads: int, context: int) -> None:
        llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        options = llama_cpp.llama_context_default_params()
        options.n_ctx = context
        options.n_threads = options.n_threads_batch = threads
        self._batch = options.n_batch
        self._context = llama_cpp.llama_init_from_model(self._model, options)
        assert self._context, f"{path} could not be loaded"
        self._sampler = llama_cpp.llama_sampler_init_greedy()
        features = " ".join(llama_cpp.llama_print_system_info().decode().split())
        self.about = f"llama-cpp-python {llama_cpp.__version__}, {threads} threads; {features}"

    async def generate(self, prompt: list[int], count: int) -> AsyncGenerator[int, None]:
        """See worker.Engine."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        for first in range(0, len(prompt), self._batch):
            self._decode(prompt[first : first + self._batch])
        for left in reversed(range(count)):
            chosen = llama_cpp.llama_sampler_sample(self._sampler, self._context, -1)
            yield 1
            if left > 0:
                self._decode([chosen])

    def _decode(self, tokens: list[int]) -> None:
        array = (llama_cpp.llama_token * len(tokens))(*tokens)  # the batch only points to it
        code = llama_cpp.llama_decode(self._context, llama_cpp.llama_batch_get_one(array, len(tokens)))
        assert code == 0, f"llama_decode failed with {code}"


if __name__ == "__main__":
    start = time.monotonic()
    worker.run(LlamaCpp(*worker.arguments()), start)
