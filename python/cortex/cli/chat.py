"""`cortex chat`: talks with a model through the gateway; answers appear as they are generated."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cortex.cli.choosing import choose_model
from cortex.cli.gateway_calls import GatewayCalls
from cortex.cli.output import print_json, say
from cortex.errors import ConfigError, CortexError, UpstreamLost

__all__ = ["ChatOptions", "run_chat"]

_SECONDS = 900.0


@dataclass(frozen=True)
class ChatOptions:
    """What to ask with; `model` None = the only one that is loaded."""

    model: str | None
    system: str | None
    max_tokens: int | None
    temperature: float | None


def run_chat(endpoint: str, prompt: str, options: ChatOptions, *, as_json: bool) -> None:
    """Answer `prompt` and end; without one read questions from standard input until it ends. Raises ConfigError where
    no model can be chosen, and what the gateway refuses with."""
    calls = GatewayCalls(endpoint)
    model = options.model or str(choose_model(calls, None, "cortex chat")["id"])
    messages: list[dict[str, str]] = [{"role": "system", "content": options.system}] if options.system else []
    if prompt:
        messages.append({"role": "user", "content": prompt})
        if as_json:
            print_json(calls.post("/v1/chat/completions", _body(model, messages, options), seconds=_SECONDS))
        else:
            _answer(calls, model, messages, options)
        return
    if as_json:
        raise ConfigError("--json answers one question: give it as an argument")
    for question in _questions(model):
        messages.append({"role": "user", "content": question})
        try:
            messages.append({"role": "assistant", "content": _answer(calls, model, messages, options)})
        except CortexError as error:
            messages.pop()
            say(f"error: {error.message}")


def _questions(model: str) -> Iterator[str]:
    talking = sys.stdin.isatty()
    if talking:
        say(f"{model}: ask, and end with Ctrl-D")
    while True:
        if talking:
            sys.stderr.write("> ")
            sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def _body(model: str, messages: list[dict[str, str]], options: ChatOptions) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "messages": messages}
    if options.max_tokens is not None:
        body["max_tokens"] = options.max_tokens
    if options.temperature is not None:
        body["temperature"] = options.temperature
    return body


def _answer(calls: GatewayCalls, model: str, messages: list[dict[str, str]], options: ChatOptions) -> str:
    """Print the answer as it comes, its speed on stderr."""
    body = {**_body(model, messages, options), "stream": True, "stream_options": {"include_usage": True}}
    started = time.monotonic()
    first: float | None = None
    said: list[str] = []
    tokens = 0
    with calls.open("/v1/chat/completions", body, seconds=_SECONDS) as response:
        for chunk in _chunks(response):
            tokens = (chunk.get("usage") or {}).get("completion_tokens", tokens)
            for choice in chunk.get("choices", ()):
                text = (choice.get("delta") or {}).get("content")
                if text:
                    first = first or time.monotonic()
                    said.append(text)
                    sys.stdout.write(text)
                    sys.stdout.flush()
    sys.stdout.write("\n")
    _speed(tokens, started, first)
    return "".join(said)


def _chunks(response: Any) -> Iterator[dict[str, Any]]:
    for raw in response:
        line = raw.strip()
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            return
        chunk = json.loads(data)
        if "error" in chunk:
            raise CortexError(str(chunk["error"].get("message", "the answer broke off")))
        yield chunk
    raise UpstreamLost("the answer broke off")


def _speed(tokens: int, started: float, first: float | None) -> None:
    if first is None or not sys.stderr.isatty():
        return
    seconds = time.monotonic() - first
    rate = f", {(tokens - 1) / seconds:.0f} tokens/s" if tokens > 1 and seconds > 0 else ""
    say(f"[{tokens} tokens, first after {first - started:.2f} s{rate}]")
