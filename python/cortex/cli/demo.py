"""`cortex demo`: start everything on loopback, ask one question in both dialects, show the streams and their speed."""

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from cortex.cli.output import say
from cortex.errors import CortexError
from cortex.ops.starter import STARTER_ID

__all__ = ["run_demo"]

# A model this small wanders off when asked without the last sentence.
QUESTION = "What is the capital of France? Answer with the name of the city."
START_SECONDS = 60.0
ANSWER_SECONDS = 120.0
STOP_SECONDS = 30.0
MESSAGES = [{"role": "user", "content": QUESTION}]
BODY: dict[str, Any] = {"model": STARTER_ID, "messages": MESSAGES, "stream": True, "temperature": 0, "max_tokens": 64}


@dataclass
class _Answer:
    """One streamed answer: its text, the time to the first piece and the rate after it, in tokens per second."""

    text: str
    first_seconds: float
    tokens: int
    seconds: float

    @property
    def rate(self) -> float:
        """Tokens per second from the first token on."""
        decode = self.seconds - self.first_seconds
        return (self.tokens - 1) / decode if decode > 0 and self.tokens > 1 else 0.0


def run_demo(*, keep: bool) -> None:
    """Run the demo; `keep` leaves gateway and neuron running until Ctrl-C. Raises CortexError when a step fails."""
    port, metrics, neuron = _ports()
    say("[1/4] starting gateway and neuron: cortex up")
    with _running(port, metrics, neuron) as process:
        _wait_until_loaded(process, port)
        say(f"[2/4] ready at http://127.0.0.1:{port}; question: {QUESTION}")
        say("[3/4] OpenAI dialect, POST /v1/chat/completions")
        openai = _ask(port, "/v1/chat/completions", {**BODY, "stream_options": {"include_usage": True}}, _openai_piece)
        _report(openai)
        say("[4/4] Anthropic dialect, POST /v1/messages")
        anthropic = _ask(port, "/v1/messages", BODY, _anthropic_piece)
        _report(anthropic)
        if not all("Paris" in answer.text for answer in (openai, anthropic)):
            raise CortexError("the model did not say Paris")
        say("Both dialects answered. Next: cortex up, cortex status, README.md.")
        if keep:
            say(f"Still running at http://127.0.0.1:{port}; Ctrl-C ends it.")
            process.wait()


def _ports() -> tuple[int, int, int]:
    """The usual ports where they are free, others where not."""
    chosen = []
    for usual in (31313, 31314, 13131):
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", usual))
            except OSError:
                probe.bind(("127.0.0.1", 0))
            chosen.append(int(probe.getsockname()[1]))
    return chosen[0], chosen[1], chosen[2]


@contextmanager
def _running(port: int, metrics: int, neuron: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "cortex.cli.cortex", "up", "--listen", f"127.0.0.1:{port}"]
    command += ["--metrics-listen", f"127.0.0.1:{metrics}", "--neuron-port", str(neuron), "--log-level", "warning"]
    process = subprocess.Popen(command)
    try:
        yield process
    except KeyboardInterrupt:
        say("stopping")
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_loaded(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise CortexError(f"cortex up ended with status {process.returncode}; its messages stand above")
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
                connection.request("GET", "/v1/models")
                models = json.loads(connection.getresponse().read()).get("data", [])
            if any(model["id"] == STARTER_ID and model.get("loaded") for model in models):
                return
        except (OSError, ValueError, http.client.HTTPException):
            pass
        time.sleep(0.05)
    raise CortexError(f"the model was not loaded within {START_SECONDS:.0f} s")


def _ask(port: int, path: str, body: dict[str, Any], piece: Any) -> _Answer:
    start = time.monotonic()
    first, tokens, text = 0.0, 0, ""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)) as connection:
        headers = {"content-type": "application/json", "anthropic-version": "2023-06-01"}
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        if response.status != 200:
            raise CortexError(f"{path} answered {response.status}: {response.read(2000).decode(errors='replace')}")
        for line in response:
            if not line.startswith(b"data:") or line.strip() == b"data: [DONE]":
                continue
            delta, count = piece(json.loads(line[5:]))
            tokens = count or tokens
            if delta and not first:
                first = time.monotonic() - start
            text += delta
            sys.stdout.write(delta)
            sys.stdout.flush()
    sys.stdout.write("\n")
    return _Answer(text, first, tokens, time.monotonic() - start)


def _openai_piece(event: dict[str, Any]) -> tuple[str, int]:
    usage = event.get("usage") or {}
    text = "".join(choice["delta"].get("content") or "" for choice in event.get("choices", []))
    return text, int(usage.get("completion_tokens", 0))


def _anthropic_piece(event: dict[str, Any]) -> tuple[str, int]:
    if event["type"] == "content_block_delta":
        return str(event["delta"].get("text", "")), 0
    if event["type"] == "message_delta":
        return "", int(event["usage"]["output_tokens"])
    return "", 0


def _report(answer: _Answer) -> None:
    say(f"      TTFT {answer.first_seconds * 1000:.0f} ms, {answer.tokens} tokens, {answer.rate:.0f} tokens/s")
