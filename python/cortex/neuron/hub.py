"""A model registry that speaks the Hugging Face hub's API: lists a repository, fetches what a model needs."""

import re
import shutil
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

from cortex.errors import CortexError, SourceNotFound
from cortex.neuron.download import Downloader, RemoteFile
from cortex.neuron.fetch import Fetch
from cortex.neuron.hub_cache import RepositoryCache, near_repositories
from cortex.neuron.selection import choose

__all__ = ["Registry"]

LIST_SECONDS = 20.0
HEADROOM_BYTES = 512 << 20
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.))*"
_REPOSITORY = re.compile(rf"{_NAME}(?:/{_NAME})?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
MAX_REPOSITORY = 200


class Registry:
    """One registry: its endpoint, its cache, and the token that goes to this endpoint only."""

    def __init__(
        self,
        endpoint: str,
        cache: Path,
        *,
        token: str | None = None,
        token_variable: str = "HF_TOKEN",
        offline: bool = False,
        retry_seconds: float = 1.0,
    ) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._cache = cache
        self._token = token
        self._token_variable = token_variable
        self._offline = offline
        self._downloader = Downloader(self._endpoint, token, retry_seconds=retry_seconds)

    def resolve(self, repo: str, quant: str | None, fetch: Fetch) -> Path:
        """The local path of a model. Numbers as in the code.

        1. Cached, and certainly what was asked for: no request at all. 2. Offline: what is cached, or an error.
        3. Fetch; if the registry cannot be reached, what is cached.
        Raises SourceNotFound, QuantNotFound, FetchCancelled.
        """
        if not _REPOSITORY.fullmatch(repo) or len(repo) > MAX_REPOSITORY:
            raise SourceNotFound(f"{repo!r} is no repository name; write owner/name")
        cached = RepositoryCache(self._cache, repo)
        found = cached.find(quant)
        if found is not None and (self._offline or cached.is_certain(quant)):  # 1
            return found
        if self._offline:  # 2
            raise self._not_found(f"{repo} is not in the cache {self._cache}, and offline mode is on", repo)
        try:  # 3
            return self._fetch(repo, quant, cached, fetch)
        except (httpx2.TransportError, OfflineModeIsEnabled) as error:
            if found is not None:
                return found
            raise SourceNotFound(f"{self._endpoint} cannot be reached for {repo}: {error or type(error)}") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            raise self._mapped(error, repo) from error

    def _fetch(self, repo: str, quant: str | None, cached: RepositoryCache, fetch: Fetch) -> Path:
        api = HfApi(endpoint=self._endpoint, token=self._token or False)
        info = api.model_info(repo, files_metadata=True, timeout=LIST_SECONDS)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        choice = choose(sizes, quant=quant, what=repo)
        commit = info.sha or ""
        if not _COMMIT.fullmatch(commit):
            raise SourceNotFound(f"{self._endpoint} names no commit for {repo}")
        names = [*choice.sidecars, *choice.weights]
        fetch.expect(sum(sizes[name] for name in names))
        self._check_headroom(fetch.total_bytes, repo)
        for name in names:
            self._fetch_file(repo, name, commit, cached, fetch)
        cached.publish(commit)
        return cached.path_of(choice, commit)

    def _fetch_file(self, repo: str, name: str, commit: str, cached: RepositoryCache, fetch: Fetch) -> None:
        url = hf_hub_url(repo, name, revision=commit, endpoint=self._endpoint)
        file = self._downloader.describe(url)
        blob = cached.blob(file.etag)
        with cached.lock(file.etag, fetch):
            if blob.is_file():
                fetch.advance(blob.stat().st_size)
            else:
                self._check_one(file, repo)
                self._downloader.download(file, blob, fetch)
        cached.link(name, file.etag, commit)

    def _check_headroom(self, needed: int, repo: str) -> None:
        self._cache.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._cache).free
        if needed + HEADROOM_BYTES > free:
            raise SourceNotFound(
                f"{repo} needs {needed:,} bytes and {HEADROOM_BYTES:,} to spare, but {self._cache} has {free:,} free",
                extras={"needed_bytes": needed, "free_bytes": free},
            )

    def _check_one(self, file: RemoteFile, repo: str) -> None:
        """The listing may have understated a file."""
        self._check_headroom(file.size or 0, repo)

    def _mapped(self, error: Exception, repo: str) -> CortexError:
        """Foreign errors become ours here, and only here."""
        token = f"set {self._token_variable} to a token that may read it"
        if isinstance(error, GatedRepoError):
            return SourceNotFound(f"{repo} is gated: accept its terms at {self._endpoint}/{repo}, then {token}")
        if isinstance(error, RepositoryNotFoundError):
            return self._not_found(f"{self._endpoint} has no repository {repo}; if it is private, {token}", repo)
        if isinstance(error, HfHubHTTPError):
            status = error.response.status_code
            return SourceNotFound(f"{self._endpoint} answered {status} for {repo}; try again later or {token}")
        if isinstance(error, OSError):
            return SourceNotFound(f"{repo} cannot be stored in {self._cache}: {error}")
        return SourceNotFound(f"{self._endpoint} answered for {repo} what no hub answers: {error}")

    def _not_found(self, text: str, repo: str) -> SourceNotFound:
        near = near_repositories(self._cache, repo)
        hint = f"; in the cache are {', '.join(near)}" if near else ""
        return SourceNotFound(text + hint, param="model_id", extras={"nearest": near})
