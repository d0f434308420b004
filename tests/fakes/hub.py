"""A local server that speaks the hub's API: lists repositories, answers HEAD and ranged GET, can fail in many ways."""

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".gguf", ".safetensors")
_API = re.compile(r"/api/models/(.+?)(?:/revision/[^/]+)?")
_FILE = re.compile(r"/(.+?)/resolve/([^/]+)/(.+)")
_RANGE = re.compile(r"bytes=(\d+)-")


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class FakeHub:
    """`repos` maps a repository to its files. A context manager: the server runs inside it."""

    repos: dict[str, dict[str, bytes]]
    gated: set[str] = field(default_factory=set)
    token: str | None = None
    storage: "FakeHub | None" = None  # large files are redirected there
    moved: "FakeHub | None" = None  # listings are redirected there
    cuts: dict[str, int] = field(default_factory=dict)  # once, a download ends after so many bytes
    damaged: set[str] = field(default_factory=set)  # the content arrives with one byte changed
    stated_sizes: dict[str, int] = field(default_factory=dict)  # the listing lies
    seen: list[Seen] = field(default_factory=list)

    def __enter__(self) -> "FakeHub":
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join(timeout=5)
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def requests(self, method: str, part: str = "") -> list[Seen]:
        """The requests of a method whose path contains `part`."""
        return [request for request in self.seen if request.method == method and part in request.path]


def etag(name: str, content: bytes) -> str:
    """Large files are named by SHA-256, others by git's blob hash."""
    if name.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.hub.seen.append(Seen(self.command, self.path, headers))
        path = unquote(urlsplit(self.path).path)
        if self.hub.moved is not None and _API.fullmatch(path):
            self._send(307, b"", {"Location": self.hub.moved.endpoint + self.path})
        elif found := _API.fullmatch(path):
            self._list(found[1])
        elif found := _FILE.fullmatch(path):
            self._file(found[1], found[3])
        else:
            self._send(404, b"{}")

    def _refused(self, repo: str) -> bool:
        allowed = self.hub.token is not None and self.headers.get("Authorization") == f"Bearer {self.hub.token}"
        if repo in self.hub.gated and not allowed:
            self._send(401, b'{"error":"gated"}', {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"})
            return True
        if repo not in self.hub.repos:
            self._send(404, b'{"error":"none"}', {"X-Error-Code": "RepoNotFound"})
            return True
        return False

    def _list(self, repo: str) -> None:
        if self._refused(repo):
            return
        siblings = []
        for name, content in self.hub.repos[repo].items():
            size = self.hub.stated_sizes.get(name, len(content))
            entry: dict[str, Any] = {"rfilename": name, "size": size, "blobId": "0" * 40}
            if name.endswith(LARGE):
                entry["lfs"] = {"sha256": etag(name, content), "size": size, "pointerSize": 130}
            siblings.append(entry)
        body = {"id": repo, "modelId": repo, "sha": COMMIT, "siblings": siblings, "tags": [], "private": False}
        self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _file(self, repo: str, name: str) -> None:
        if self._refused(repo):
            return
        content = self.hub.repos[repo].get(name)
        if content is None:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            return
        named = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag(name, content)}"', "Accept-Ranges": "bytes"}
        if self.hub.storage is not None and name.endswith(LARGE):
            linked = {"X-Linked-Etag": named["ETag"], "X-Linked-Size": str(len(content))}
            self._send(302, b"", {**named, **linked, "Location": self.hub.storage.endpoint + self.path})
            return
        self._content(name, content, named)

    def _content(self, name: str, content: bytes, named: dict[str, str]) -> None:
        if name in self.hub.damaged:
            content = content[:-1] + bytes([content[-1] ^ 1])
        status, start = 200, 0
        if found := _RANGE.fullmatch(self.headers.get("Range", "")):
            status, start = 206, int(found[1])
            named["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        cut = self.hub.cuts.pop(name, None) if self.command == "GET" else None
        self._send(status, body, named, cut=cut)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, cut: int | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.close_connection = True
