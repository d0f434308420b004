"""Clients of the rig: one that streams an answer, one that asks again and again and counts what failed."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from types import TracebackType
from typing import Any, Self

__all__ = ["MODEL", "Asking", "Stream", "ask"]

MODEL = "small"
QUESTION = "What is the capital of France? Answer with the name of the city."
_PATH = "/v1/chat/completions"
_SECONDS = 60.0


def ask(address: str, *, path: str = _PATH, body: dict[str, Any] | None = None) -> Any:
    """One question over a connection of its own; raises where the answer is none."""
    body = body or {"model": MODEL, "temperature": 0, "messages": [{"role": "user", "content": QUESTION}]}
    with closing(http.client.HTTPConnection(address, timeout=_SECONDS)) as connection:
        connection.request("POST", path, json.dumps({"max_tokens": 16, **body}), {"content-type": "application/json"})
        response = connection.getresponse()
        text = response.read()
        assert response.status == 200, f"{response.status}: {text[:500]!r}"
        return json.loads(text)


class Asking:
    """While it is entered, threads ask one question after the other, each over a new connection."""

    def __init__(self, address: str, *, threads: int = 2, pause: float = 0.0) -> None:
        self.done = 0
        self.failures: list[str] = []
        self.slowest = 0.0
        self._address = address
        self._pause = pause
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, answers: int, seconds: float = 120.0) -> None:
        """Until so many more were given."""
        deadline, wanted = time.monotonic() + seconds, self.done + answers
        while self.done < wanted:
            assert time.monotonic() < deadline, f"{self.done} answers of {wanted}; {self.failures[:3]}"
            time.sleep(0.05)

    def _run(self) -> None:
        while not self._ended.wait(self._pause):
            start, failure = time.monotonic(), ""
            try:
                ask(self._address)
            except (OSError, ValueError, AssertionError, http.client.HTTPException) as error:
                failure = f"{type(error).__name__}: {error}"
            with self._lock:
                self.done += 1
                self.slowest = max(self.slowest, time.monotonic() - start)
                self.failures += [failure] if failure else []


class Stream:
    """An answer of exactly `tokens` tokens, streamed; entered with its first piece, `rest` takes it to its end."""

    def __init__(self, address: str, *, tokens: int, token: str = "") -> None:
        messages = [{"role": "user", "content": "Tell me a long story about a fox."}]
        self._body = {"model": MODEL, "messages": messages, "stream": True, "temperature": 0}
        self._body |= {"max_tokens": tokens, "ignore_eos": True, "stream_options": {"include_usage": True}}
        self._headers = {"content-type": "application/json", **({"authorization": f"Bearer {token}"} if token else {})}
        self._connection = http.client.HTTPConnection(address, timeout=_SECONDS)
        self._lines: Iterator[bytes] = iter(())

    def __enter__(self) -> Self:
        self._connection.request("POST", _PATH, json.dumps(self._body), self._headers)
        response = self._connection.getresponse()
        assert response.status == 200, response.read()
        self._lines = iter(response)
        assert any(line.startswith(b"data: ") for line in self._lines)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._connection.close()

    def rest(self) -> tuple[int, str, bool]:
        """Tokens that the usage counts, why it ended, whether `[DONE]` came."""
        tokens, reason, done = 0, "", False
        for line in self._lines:
            if line.startswith(b"data: [DONE]"):
                done = True
            elif line.startswith(b"data: "):
                event = json.loads(line[6:])
                tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
                reasons = [choice.get("finish_reason") for choice in event.get("choices", [])]
                reason = next((one for one in reasons if one), reason)
        return tokens, reason, done
