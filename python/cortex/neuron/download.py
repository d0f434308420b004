"""One file from a registry to disk: resumed where it stopped, verified, and only then put in its place."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx2
from huggingface_hub import get_session
from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]  # public, but not re-exported

from cortex.errors import SourceNotFound
from cortex.neuron.fetch import Fetch

__all__ = ["Downloader", "RemoteFile", "same_origin"]

CHUNK = 1 << 20
MAX_REDIRECTS = 5
ATTEMPTS = 5
CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
_PORTS = {"http": 80, "https": 443}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")
_ETAG = re.compile(r"[A-Za-z0-9_-]{1,128}")


class RemoteFile:
    """What the registry says of a file: where it is, its content's name (`etag`), its size, its commit."""

    def __init__(self, url: str, etag: str, size: int | None, commit: str | None) -> None:
        self.url = url
        self.etag = etag
        self.size = size
        self.commit = commit


def same_origin(left: str, right: str) -> bool:
    """Whether two URLs have the same scheme, host and port: the only place a token may go to."""
    return _origin(left) == _origin(right)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme)


class Downloader:
    """Requests to one registry. The token goes to the registry's own origin and nowhere else, also on redirects."""

    def __init__(self, endpoint: str, token: str | None, *, retry_seconds: float = 1.0) -> None:
        self._endpoint = endpoint
        self._token = token
        self._retry_seconds = retry_seconds

    def describe(self, url: str) -> RemoteFile:
        """Ask for a file's metadata. Redirects within the registry are followed; one to storage answers itself."""
        for _ in range(MAX_REDIRECTS):
            with self._request("HEAD", url, {"Accept-Encoding": "identity"}) as response:
                target = response.headers.get("Location") if response.is_redirect else None
                if target is None or not same_origin(self._endpoint, urljoin(url, target)):
                    hf_raise_for_status(response)
                    return _remote_file(url, response.headers)
            url = urljoin(url, target)
        raise SourceNotFound(f"{url}: too many redirects")

    def download(self, file: RemoteFile, target: Path, fetch: Fetch) -> None:
        """Fetch into `target`, continuing `target.incomplete`. Raises SourceNotFound, FetchCancelled."""
        partial = target.with_name(f"{target.name}.incomplete")
        have = partial.stat().st_size if partial.exists() else 0
        fetch.advance(have)
        failures = 0
        while True:
            before = partial.stat().st_size if partial.exists() else 0
            try:
                self._continue(file, partial, fetch)
                break
            except httpx2.TransportError as error:
                grown = partial.exists() and partial.stat().st_size > before
                failures = 1 if grown else failures + 1
                if failures >= ATTEMPTS:
                    raise SourceNotFound(
                        f"the download of {file.url} broke off: {error or type(error).__name__}; try again"
                    ) from error
                fetch.pause(self._retry_seconds)
        _verify(file, partial, fetch)
        partial.replace(target)

    def _continue(self, file: RemoteFile, partial: Path, fetch: Fetch) -> None:
        have = partial.stat().st_size if partial.exists() else 0
        if file.size is not None and have == file.size:
            return
        if file.size is not None and have > file.size:
            fetch.advance(-have)
            partial.unlink()
            have = 0
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        with self._follow(file.url, headers) as response:
            hf_raise_for_status(response)
            append = have > 0 and response.status_code == httpx2.codes.PARTIAL_CONTENT
            if not append:
                fetch.advance(-have)
            with partial.open("ab" if append else "wb") as sink:
                # As they come: larger pieces would be lost, and fetched again, when the connection breaks.
                for chunk in response.iter_bytes():
                    sink.write(chunk)
                    fetch.advance(len(chunk))

    @contextmanager
    def _follow(self, url: str, headers: dict[str, str]) -> Iterator[httpx2.Response]:
        for _ in range(MAX_REDIRECTS):
            with self._request("GET", url, headers) as response:
                if not response.is_redirect:
                    yield response
                    return
                url = urljoin(url, response.headers["Location"])
            if urlsplit(url).scheme not in _PORTS:
                break
        raise SourceNotFound(f"{url}: too many redirects, or one to another protocol")

    @contextmanager
    def _request(self, method: str, url: str, headers: dict[str, str]) -> Iterator[httpx2.Response]:
        own = dict(headers)
        if self._token is not None and same_origin(self._endpoint, url):
            own["Authorization"] = f"Bearer {self._token}"
        timeout = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
        with get_session().stream(method, url, headers=own, timeout=timeout, follow_redirects=False) as response:
            yield response


def _remote_file(url: str, headers: httpx2.Headers) -> RemoteFile:
    etag = (headers.get("X-Linked-Etag") or headers.get("ETag") or "").removeprefix("W/").strip('"')
    if not _ETAG.fullmatch(etag):
        raise SourceNotFound(f"{url}: the registry names no usable ETag for the file")
    size = headers.get("X-Linked-Size") or headers.get("Content-Length") or ""
    return RemoteFile(url, etag, int(size) if size.isdecimal() else None, headers.get("X-Repo-Commit"))


def _verify(file: RemoteFile, partial: Path, fetch: Fetch) -> None:
    """Compare size and checksum with what the registry said; a wrong file is removed."""
    size = partial.stat().st_size
    if file.size is not None and size < file.size:
        raise SourceNotFound(f"{file.url} ended after {size} of {file.size} bytes; try again")
    found = _digest(file.etag, partial, size, fetch)
    if found != file.etag or (file.size is not None and size != file.size):
        partial.unlink()
        raise SourceNotFound(
            f"{file.url} arrived damaged: checksum {found}, expected {file.etag}; it was removed, try again"
        )


def _digest(etag: str, path: Path, size: int, fetch: Fetch) -> str:
    """Large files are named by their SHA-256, small ones by git's blob hash; other names cannot be verified."""
    if _SHA256.fullmatch(etag):
        digest = hashlib.sha256()
    elif _SHA1.fullmatch(etag):
        digest = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    else:
        return etag
    with path.open("rb") as source:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            fetch.check()
    return digest.hexdigest()
