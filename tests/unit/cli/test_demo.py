"""`cortex demo` with a scripted server in the place of `cortex up`: what it asks, shows and refuses."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from cortex.cli import demo
from cortex.errors import CortexError


class Process:
    """A process that lives, or ended with a status."""

    def __init__(self, status: int | None = None) -> None:
        self.returncode = status
        self.waited = False

    def poll(self) -> int | None:
        return self.returncode

    def wait(self) -> None:
        self.waited = True


class Gateway:
    """Lists the model from the second question on; streams `words` in both dialects."""

    def __init__(self, words: tuple[str, ...], status: int = 200) -> None:
        self.words, self.status = words, status
        self.lists = 0
        self.bodies: dict[str, Any] = {}

    def answer(self, path: str, body: bytes) -> bytes:
        if path == "/v1/models":
            self.lists += 1
            return json.dumps({"data": [{"id": demo.STARTER_ID, "loaded": self.lists > 1}]}).encode()
        self.bodies[path] = json.loads(body)
        events = self.anthropic() if path == "/v1/messages" else self.openai()
        return b"".join(b"data: " + event.encode() + b"\n\n" for event in events)

    def openai(self) -> Iterator[str]:
        yield json.dumps({"choices": [{"delta": {"role": "assistant"}}]})
        for word in self.words:
            yield json.dumps({"choices": [{"delta": {"content": word}}]})
        yield json.dumps({"choices": [], "usage": {"completion_tokens": 5}})
        yield "[DONE]"

    def anthropic(self) -> Iterator[str]:
        yield json.dumps({"type": "message_start"})
        for word in self.words:
            yield json.dumps({"type": "content_block_delta", "delta": {"type": "text_delta", "text": word}})
        yield json.dumps({"type": "message_delta", "usage": {"output_tokens": 6}})


@contextmanager
def serving(gateway: Gateway) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            answer = gateway.answer(self.path, self.rfile.read(length))
            self.send_response(gateway.status if self.command == "POST" else 200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def instead_of_up(gateway: Gateway, process: Process, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The demo finds `gateway` where it would have started `cortex up`."""

    @contextmanager
    def running(*_: int) -> Iterator[Process]:
        yield process

    with serving(gateway) as port:
        monkeypatch.setattr(demo, "_ports", lambda: (port, 0, 0))
        monkeypatch.setattr(demo, "_running", running)
        yield


def test_it_asks_in_both_dialects_and_shows_answers_and_speed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway, process = Gateway(("The capital", " is Paris.")), Process()
    with instead_of_up(gateway, process, monkeypatch):
        demo.run_demo(keep=False)
    shown = capsys.readouterr()
    assert shown.out == "The capital is Paris.\n" * 2
    assert "TTFT" in shown.err
    assert "5 tokens" in shown.err
    assert "6 tokens" in shown.err
    assert gateway.lists == 2
    assert set(gateway.bodies) == {"/v1/chat/completions", "/v1/messages"}
    assert all(body["stream"] and body["temperature"] == 0 for body in gateway.bodies.values())
    assert not process.waited


def test_keep_waits_for_the_end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    process = Process()
    with instead_of_up(Gateway(("Paris",)), process, monkeypatch):
        demo.run_demo(keep=True)
    assert process.waited
    assert "Ctrl-C" in capsys.readouterr().err


def test_a_wrong_answer_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    with instead_of_up(Gateway(("Rome",)), Process(), monkeypatch), pytest.raises(CortexError, match="Paris"):
        demo.run_demo(keep=False)


def test_a_refusal_is_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = Gateway(("no room",), status=503)
    with instead_of_up(gateway, Process(), monkeypatch), pytest.raises(CortexError, match=r"503: (.|\n)*no room"):
        demo.run_demo(keep=False)


def test_the_end_of_cortex_up_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with instead_of_up(Gateway(()), Process(status=1), monkeypatch), pytest.raises(CortexError, match="status 1"):
        demo.run_demo(keep=False)


def test_the_rate_leaves_the_first_token_out() -> None:
    assert demo._Answer(text="x", first_seconds=1.0, tokens=11, seconds=2.0).rate == 10
    assert demo._Answer(text="x", first_seconds=1.0, tokens=1, seconds=1.0).rate == 0
