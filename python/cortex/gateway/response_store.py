"""ResponseStore: answers that clients may go on from, in SQLite, by a thread of its own; bounded, and expiring.

What was used longest ago goes first, and using an answer uses all that it goes on from, so a conversation ages whole.
"""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cortex.errors import ConfigError, PreviousNotFound, ResponseNotFound

__all__ = ["Kept", "ResponseStore"]

T = TypeVar("T")
_DEEPEST = 1000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS responses(
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, previous TEXT, used REAL NOT NULL, size INTEGER NOT NULL,
    input BLOB NOT NULL, body BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS responses_used ON responses(used);
"""
_CHAIN = f"""
WITH RECURSIVE chain(id, previous, depth) AS (
    SELECT id, previous, 0 FROM responses WHERE id = ?
    UNION ALL
    SELECT r.id, r.previous, depth + 1 FROM chain JOIN responses r ON r.id = chain.previous WHERE depth < {_DEEPEST}
)
SELECT chain.id, chain.previous, r.input, r.body FROM chain JOIN responses r ON r.id = chain.id ORDER BY depth DESC
"""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """One answer: its own input items and its body, both as JSON; `previous` is what it goes on from. Only its owner
    may see it: a key's share, or empty where it was made without a key."""

    id: str
    owner: str
    previous: str | None
    input: bytes
    body: bytes


class _Body(msgspec.Struct, frozen=True):
    output: list[dict[str, Any]]


_ITEMS = msgspec.json.Decoder(list[dict[str, Any]])
_BODY = msgspec.json.Decoder(_Body)


class ResponseStore:
    """`path` None keeps them in memory. `now` is Unix seconds throughout."""

    def __init__(self, path: Path | None, *, max_entries: int, max_bytes: int, ttl_seconds: float) -> None:
        self._path = path
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._ttl = ttl_seconds
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="responses")
        self._database: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open or make the file. Raises ConfigError where that is impossible."""
        try:
            await self._run(self._open)
        except (OSError, sqlite3.Error) as exc:
            raise ConfigError(
                f"responses.path {self._path}: {exc}; name a file that this user may write, or move a broken one away"
            ) from exc

    async def close(self) -> None:
        """Close the file; idempotent."""
        database, self._database = self._database, None
        if database is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, database.close)
        self._thread.shutdown(wait=False)

    async def put(self, kept: Kept, now: float) -> None:
        """Keep an answer; what is too old or too much goes. Raises OSError when it cannot be written."""
        try:
            await self._run(self._put, kept, now)
        except sqlite3.Error as exc:
            raise OSError(f"cannot keep an answer: {exc}") from exc

    async def conversation(self, id: str, owner: str, now: float) -> list[dict[str, Any]]:
        """All items up to and with this answer, the oldest first. Raises PreviousNotFound."""
        return await self._run(self._conversation, id, owner, now)

    async def items(self, wanted: Mapping[str, tuple[str, int]], owner: str, now: float) -> dict[str, dict[str, Any]]:
        """Output items by their ids; `wanted` says where each stands. Those that are not there are left out."""
        return await self._run(self._items, wanted, owner, now)

    async def get(self, id: str, owner: str, now: float) -> Kept:
        """One answer. Raises ResponseNotFound."""
        return await self._run(self._get, id, owner, now)

    async def delete(self, id: str, owner: str) -> None:
        """Forget an answer. Raises ResponseNotFound."""
        await self._run(self._delete, id, owner)

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    def _open(self) -> None:
        if self._path is not None:
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))  # conversations are nobody else's to read
        database = sqlite3.connect(self._path or ":memory:", check_same_thread=False)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.executescript(_SCHEMA)
        except sqlite3.Error:
            database.close()
            raise
        self._database = database

    @property
    def _db(self) -> sqlite3.Connection:
        assert self._database is not None, "used between open and close"
        return self._database

    def _put(self, kept: Kept, now: float) -> None:
        size = len(kept.input) + len(kept.body)
        with self._db as db:
            row = (kept.id, kept.owner, kept.previous, now, size, kept.input, kept.body)
            db.execute("INSERT OR REPLACE INTO responses VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            db.execute("DELETE FROM responses WHERE used < ?", (now - self._ttl,))
            self._make_room(db)

    def _make_room(self, db: sqlite3.Connection) -> None:
        count, size = db.execute("SELECT count(*), coalesce(sum(size), 0) FROM responses").fetchone()
        if count <= self._max_entries and size <= self._max_bytes:
            return
        victims = []
        for id_, bytes_ in db.execute("SELECT id, size FROM responses ORDER BY used"):
            if count <= self._max_entries and size <= self._max_bytes:
                break
            victims.append((id_,))
            count, size = count - 1, size - bytes_
        db.executemany("DELETE FROM responses WHERE id = ?", victims)

    def _conversation(self, id: str, owner: str, now: float) -> list[dict[str, Any]]:
        rows = self._db.execute(_CHAIN, (id,)).fetchall() if self._alive(id, owner, now) else []
        if not rows or rows[0][1] is not None:
            raise PreviousNotFound(f"No answer {id[:100]!r} is kept here.", param="previous_response_id")
        with self._db as db:
            db.executemany("UPDATE responses SET used = ? WHERE id = ?", [(now, row[0]) for row in rows])
        return [item for row in rows for item in (*_ITEMS.decode(row[2]), *_BODY.decode(row[3]).output)]

    def _items(self, wanted: Mapping[str, tuple[str, int]], owner: str, now: float) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for id_, (answer, index) in wanted.items():
            with contextlib.suppress(ResponseNotFound):
                output = _BODY.decode(self._get(answer, owner, now).body).output
                if index < len(output) and output[index]["id"] == id_:
                    found[id_] = output[index]
        return found

    def _get(self, id: str, owner: str, now: float) -> Kept:
        row = self._db.execute("SELECT previous, input, body FROM responses WHERE id = ?", (id,)).fetchone()
        if row is None or not self._alive(id, owner, now):
            raise ResponseNotFound(f"No answer {id[:100]!r} is kept here.")
        return Kept(id=id, owner=owner, previous=row[0], input=row[1], body=row[2])

    def _alive(self, id: str, owner: str, now: float) -> bool:
        query = "SELECT 1 FROM responses WHERE id = ? AND owner = ? AND used >= ?"
        return self._db.execute(query, (id, owner, now - self._ttl)).fetchone() is not None

    def _delete(self, id: str, owner: str) -> None:
        with self._db as db:
            if not db.execute("DELETE FROM responses WHERE id = ? AND owner = ?", (id, owner)).rowcount:
                raise ResponseNotFound(f"No answer {id[:100]!r} is kept here.")
