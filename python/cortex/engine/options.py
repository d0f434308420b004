"""What a load and a request ask of the engine."""

import msgspec

from cortex import _native

__all__ = ["EngineSampling", "LoadOptions"]


class LoadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How much memory and machine a model gets; None = the engine's own choice.

    `kv_bytes` is the size of the KV pool, `step_tokens` the most tokens of one step (decode and prefill together),
    `max_waiting` the requests that may wait beyond the `max_sequences` that run. `quant` (q8_0, q6_k, q4_k) quantises
    safetensors while they are loaded.
    """

    context_length: int | None = None
    max_sequences: int = 16
    max_waiting: int = 256
    kv_bytes: int | None = None
    threads: int | None = None
    step_tokens: int | None = None
    chat_template: str | None = None
    quant: str | None = None


class EngineSampling(msgspec.Struct, frozen=True, kw_only=True):
    """How to choose tokens and when to end; the defaults change nothing. `temperature` 0 is greedy.

    `logprobs` and `prompt_logprobs` are how many alternatives each token shall have (0 = only itself); with the latter
    `max_tokens` may be 0. `stop_token_ids` count also with `ignore_eos`. With `parsing` the answer is told as thoughts,
    text and tool calls: JSON with `tools` (name and parameters of each), `single` (the first call ends the answer) and
    `forced` (a grammar makes it a call). Cached beginnings of prompts are shared within one `cache_salt` (64 bits).
    """

    max_tokens: int
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    min_tokens: int = 0
    ignore_eos: bool = False
    stop_token_ids: tuple[int, ...] = ()
    logit_bias: tuple[tuple[int, float], ...] = ()
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    grammar: _native.Grammar | None = None
    parsing: bytes | None = None
    cache_salt: int = 0
