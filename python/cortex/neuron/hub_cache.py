"""The weight cache on disk, in the layout that huggingface-hub and other programs share (blobs, snapshots, refs)."""

import difflib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import msgspec

from cortex.errors import QuantNotFound, SourceNotFound
from cortex.neuron.fetch import Fetch
from cortex.neuron.selection import Choice, choose, is_safe_name

__all__ = ["RepositoryCache", "near_repositories"]

INDEX = "model.safetensors.index.json"
REVISION = "main"
LOCK_POLL_SECONDS = 1.0


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


class RepositoryCache:
    """What is cached of one repository."""

    def __init__(self, cache: Path, repo: str) -> None:
        self._folder = cache / f"models--{repo.replace('/', '--')}"
        self._locks = cache / ".locks" / self._folder.name
        self._repo = repo

    def find(self, quant: str | None) -> Path | None:
        """The model as far as it is complete here; None sends the caller to the registry."""
        snapshot = self._snapshot()
        if snapshot is None:
            return None
        names = [str(path.relative_to(snapshot)) for path in snapshot.rglob("*") if path.is_file()]
        try:
            choice = choose(names, quant=quant, what=self._repo)
        except (QuantNotFound, SourceNotFound):
            return None
        return self.path_of(choice, snapshot.name) if _complete(snapshot, choice, names) else None

    def is_certain(self, quant: str | None) -> bool:
        """Whether what `find` finds is what the registry would choose too (not so when any GGUF file will do)."""
        found = self.find(quant)
        return found is not None and (quant is not None or found.is_dir())

    def path_of(self, choice: Choice, commit: str) -> Path:
        """What the engine opens: the first GGUF file, or the folder."""
        snapshot = self._folder / "snapshots" / commit
        return snapshot / choice.weights[0] if choice.is_gguf else snapshot

    def blob(self, etag: str) -> Path:
        """Where a file's content lies, by its checksum."""
        blobs = self._folder / "blobs"
        blobs.mkdir(parents=True, exist_ok=True)
        return blobs / etag

    def link(self, name: str, etag: str, commit: str) -> None:
        """Make the content visible under its name in the commit's snapshot."""
        pointer = self._folder / "snapshots" / commit / name
        pointer.parent.mkdir(parents=True, exist_ok=True)
        target = os.path.relpath(self.blob(etag), pointer.parent)
        if pointer.is_symlink() and str(pointer.readlink()) == target:
            return
        temporary = pointer.with_name(f".{pointer.name}.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(pointer)

    def publish(self, commit: str) -> None:
        """Make the snapshot the current one; done last, so that a current snapshot has its small files."""
        reference = self._folder / "refs" / REVISION
        reference.parent.mkdir(parents=True, exist_ok=True)
        temporary = reference.with_name(f".{REVISION}.{os.getpid()}")
        temporary.write_text(commit, encoding="ascii")
        temporary.replace(reference)

    @contextmanager
    def lock(self, etag: str, fetch: Fetch) -> Iterator[None]:
        """Only one process fetches a file; the others wait for it, and may be cancelled while they do."""
        self._locks.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self._locks / f"{etag}.lock")
        while True:
            try:
                lock.acquire(timeout=LOCK_POLL_SECONDS)
                break
            except filelock.Timeout:
                fetch.check()
        try:
            yield
        finally:
            lock.release()

    def _snapshot(self) -> Path | None:
        try:
            commit = (self._folder / "refs" / REVISION).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        snapshot = self._folder / "snapshots" / commit
        return snapshot if is_safe_name(commit) and snapshot.is_dir() else None


def near_repositories(cache: Path, repo: str) -> list[str]:
    """Cached repositories with a similar name."""
    try:
        cached = [path.name.removeprefix("models--").replace("--", "/") for path in cache.glob("models--*")]
    except OSError:
        return []
    return difflib.get_close_matches(repo, cached, n=3)


def _complete(snapshot: Path, choice: Choice, names: list[str]) -> bool:
    """GGUF files carry all they need (`choose` wants all parts); safetensors need tokenizer and every shard."""
    if choice.is_gguf:
        return True
    if "tokenizer.json" not in names:
        return False
    if INDEX not in choice.weights:
        return True
    try:
        index = msgspec.json.decode((snapshot / INDEX).read_bytes(), type=_Index)
    except (OSError, msgspec.DecodeError):
        return False
    return set(index.weight_map.values()).issubset(names)
