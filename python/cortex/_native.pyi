"""The compiled engine: the whole surface of the Rust extension, one class a noun.

Errors are raised as classes of `cortex.errors`. Times are seconds, sizes are bytes unless a name says otherwise.
Only `cortex.engine` may import this module.
"""

from collections.abc import Sequence
from typing import final

__all__ = ["Ending", "Engine", "Event", "Grammar", "Loader", "Prompt", "build_info", "inspect", "measure_machine"]

def build_info() -> str:
    """JSON: package_version, candle_version, rustc_version, profile, target, features[], simd (chosen at run time),
    architectures[]."""

def inspect(path: str, *, context_length: int | None = None, max_sequences: int = 1, quant: str | None = None) -> str:
    """JSON from the header alone: architecture, name, quantisation, kind (generate or embed), dimensions (of an
    embedding, else null), layers, hidden, vocab, context_length, weights_bytes, kv_bytes_per_token, kv_bytes,
    state_bytes (of layers without attention), work_bytes, total_bytes, has_chat_template.

    Raises ModelFileInvalid, UnsupportedModel, SourceNotFound.
    """

def measure_machine(threads: int | None = None) -> str:
    """JSON: threads, simd, bytes_per_second read from memory, multiply_adds_per_second of 8-bit numbers; None = the
    cores that this process may use.

    Raises InvalidField.
    """

@final
class Loader:
    """One load of one model; `run` blocks without the GIL, `progress` and `cancel` are for other threads."""

    def __new__(
        cls,
        path: str,
        *,
        context_length: int | None = None,
        max_sequences: int = 16,
        max_waiting: int = 256,
        kv_bytes: int | None = None,
        threads: int | None = None,
        step_tokens: int | None = None,
        chat_template: str | None = None,
        quant: str | None = None,
    ) -> Loader: ...
    def run(self) -> Engine: ...
    def progress(self) -> tuple[str, int, int]:
        """(stage, done bytes, total bytes); stages: open, weights, warmup, done."""
    def cancel(self) -> None: ...

@final
class Prompt:
    """Token ids, kept on the Rust side."""

    def __new__(cls, tokens: Sequence[int]) -> Prompt: ...
    def __len__(self) -> int: ...
    def tokens(self) -> list[int]: ...

@final
class Grammar:
    """What an answer must look like, compiled for the engine that made it."""

@final
class Ending:
    """How one request ended. `reason` is stop, length, tool_calls, cancelled or error."""

    @property
    def reason(self) -> str: ...
    @property
    def stop_string(self) -> str | None: ...
    @property
    def error(self) -> str | None: ...
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def completion_tokens(self) -> int: ...
    @property
    def reasoning_tokens(self) -> int: ...
    @property
    def cached_tokens(self) -> int: ...
    @property
    def queue_seconds(self) -> float: ...
    @property
    def prefill_seconds(self) -> float: ...
    @property
    def decode_seconds(self) -> float: ...

@final
class Event:
    """What one engine step made for one request: what may be shown, and how many tokens it stands for."""

    @property
    def request(self) -> int: ...
    @property
    def text(self) -> str:
        """Text of an answer that is not taken apart."""
    @property
    def pieces(self) -> list[tuple[str, int | None, str]]:
        """Parts of one that is: text, reasoning, call (the text is the function's name) or arguments (a stretch of
        JSON); the number counts the calls of the answer."""
    @property
    def tokens(self) -> int: ...
    @property
    def logprobs(self) -> str | None:
        """JSON list, an entry for each of `tokens`: token, logprob (natural, raw; -9999 for none at all), bytes (null
        for a control token), top_logprobs[{token, logprob, bytes}], the most likely first."""
    @property
    def prompt_logprobs(self) -> str | None:
        """The same for every token of the prompt, once; the first has no logprob (null)."""
    @property
    def vectors(self) -> bytes | None:
        """The embeddings that were asked for, in order, f32 little endian; on the last event."""
    @property
    def ending(self) -> Ending | None: ...

@final
class Engine:
    """A loaded model with its engine thread."""

    def info(self) -> str:
        """JSON: architecture, name, quantisation, kind (generate or embed), dimensions (of an embedding, else null),
        context_length (as limited by memory), vocab, weights_bytes, kv_bytes, kv_block_tokens, threads, simd,
        step{bytes, tokens, layer_weights, head_weights} (null for an embedding model), has_chat_template, tool_format
        (null where the template tells none), thinks, defaults{temperature, top_k, top_p, min_p, repetition_penalty}; a
        default is null where the publisher says nothing.
        """
    def encode_chat(
        self,
        messages: bytes,
        *,
        tools: bytes | None = None,
        kwargs: bytes | None = None,
        add_generation_prompt: bool = True,
        most_tokens: int | None = None,
    ) -> Prompt:
        """Render the model's chat template (JSON in) and tokenise; user text never becomes a control token.

        A text that cannot have as few as `most_tokens` is refused at once; one that comes out longer is not.
        Raises TemplateFailed, ContextLengthExceeded.
        """
    def encode_text(
        self, text: str, *, add_special: bool = True, parse_special: bool = False, most_tokens: int | None = None
    ) -> Prompt: ...
    def decode(self, tokens: Sequence[int]) -> str: ...
    def compile(self, kind: str, text: str) -> Grammar:
        """Make a grammar ready; `kind` is json_schema, regex, choice (the text is a JSON list) or lark.

        Takes milliseconds, the first time up to a second. Raises InvalidField, QueueFull, EngineFailed.
        """
    def submit(
        self,
        prompt: Prompt,
        *,
        max_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int | None = None,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        repetition_penalty: float = 1.0,
        stop: Sequence[str] | None = None,
        min_tokens: int = 0,
        ignore_eos: bool = False,
        stop_token_ids: Sequence[int] | None = None,
        logit_bias: Sequence[tuple[int, float]] | None = None,
        logprobs: int | None = None,
        prompt_logprobs: int | None = None,
        grammar: Grammar | None = None,
        parsing: bytes | None = None,
        cache_salt: int = 0,
    ) -> int:
        """Queue a request, return its id. `logprobs` and `prompt_logprobs` are how many alternatives a token has;
        with the latter `max_tokens` may be 0. With `parsing` the answer is told in pieces: JSON with tools[{name,
        parameters}], single (the first call ends it) and forced (the grammar makes it a bare JSON call). Prompts share
        cached beginnings only with those of the same `cache_salt` (64 bits).

        Raises QueueFull, ContextLengthExceeded, InvalidField, EngineFailed.
        """
    def embed(self, texts: Sequence[Prompt], *, dimensions: int | None = None) -> int:
        """Queue texts to be embedded, return the request's id; its one event has the vectors. With `dimensions`, only
        so many values at the front of each count.

        Raises QueueFull, ContextLengthExceeded (with the place of the input), InvalidField (also for a model that
        generates), EngineFailed.
        """
    def cancel(self, request: int) -> None: ...
    def drain(self) -> list[Event]:
        """All events since the last call; clears the eventfd."""
    def fileno(self) -> int: ...
    def stats(self) -> str:
        """JSON: running, waiting, blocks_used, blocks_cached, blocks_total, steps, prefill_tokens, decode_tokens,
        finished, cancelled, preemptions, prefix_queries, prefix_hits, last_step_age_seconds, failed (null or text)."""
    def timings(self) -> str:
        """JSON: distributions since the load by name, each with `bounds`, `counts` (one more: the last is of values
        above all) and `sum`; time_to_first_token_seconds, inter_token_seconds, queue_seconds, prefill_seconds,
        decode_seconds, step_seconds, step_sequences, step_tokens."""
    def close(self) -> None:
        """Stop the thread and free the memory; idempotent."""
