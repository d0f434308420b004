"""A daemon by the book: answers what the test wrote down for each path, and remembers what it was asked."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from cortex.ops.api import Clock


class Says(NamedTuple):
    """One answer."""

    body: Any
    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012


class Scripted:
    """`answers` has for each path what comes first, second, ...; the last is repeated."""

    def __init__(self, answers: dict[str, list[Says]]) -> None:
        self.answers = {path: list(script) for path, script in answers.items()}
        self.asked: list[tuple[str, Any]] = []
        self.tokens: set[str | None] = set()
        self.url = ""

    def answer(self, path: str, body: Any, token: str | None) -> Says:
        self.asked.append((path, body))
        self.tokens.add(token)
        script = self.answers.get(path, [Says({"error": {"message": "no such path"}}, 404)])
        return script.pop(0) if len(script) > 1 else script[0]


@contextmanager
def scripted(answers: dict[str, list[Says]]) -> Iterator[Scripted]:
    """The daemon on a free port of loopback."""
    daemon = Scripted(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(None)

        def do_POST(self) -> None:
            self.reply(json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def reply(self, body: Any) -> None:
            says = daemon.answer(self.path, body, self.headers.get("authorization"))
            raw = says.body if isinstance(says.body, bytes) else json.dumps(says.body).encode()
            self.send_response(says.status)
            for name, value in says.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        daemon.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield daemon
        finally:
            server.shutdown()
            thread.join(10)


class Hours:
    """A clock that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds

    def clock(self) -> Clock:
        return Clock(now=lambda: self.time, sleep=self.sleep)
