"""Patience: how long a load may make no progress: longer for larger models, and anew with every step forward."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from cortex.errors import ServiceUnavailable, UpstreamUnreachable
from cortex.fleet.state import Fleet, Job, Reach
from cortex.gateway.board import Board
from cortex.protocol import LoadProgress

__all__ = ["NoProgress", "patience", "while_it_moves"]

T = TypeVar("T")
_BASE_SECONDS = 300.0
_SECONDS_PER_GIB = 20.0
_MOST_SECONDS = 6 * 3600.0
_GIB = 1 << 30


class NoProgress(ServiceUnavailable):
    """A load that stands still."""

    code = "load_stalled"


def patience(job: Job) -> float:
    """Seconds that the load may stand still."""
    size = job.share_bytes * max(1, len(job.devices))
    return min(_BASE_SECONDS + _SECONDS_PER_GIB * size / _GIB, _MOST_SECONDS)


async def while_it_moves(board: Board, job: Job, work: Coroutine[Any, Any, T], *, seconds: float) -> T:
    """What `work` gives. Raises UpstreamUnreachable when the host goes away, NoProgress when the load stands still for
    so long; then the work is cancelled."""
    loop = asyncio.get_running_loop()
    working = loop.create_task(work)
    last, since = _progress(board.fleet, job), loop.time()
    try:
        while not working.done():
            changed = loop.create_task(board.changed(seconds))
            await asyncio.wait([working, changed], return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
            await asyncio.wait([changed])
            if working.done():
                break
            if _is_down(board.fleet, job.host):
                raise UpstreamUnreachable(f"{job.host} went away while it loaded.")
            if (now := _progress(board.fleet, job)) != last:
                last, since = now, loop.time()
            elif loop.time() - since >= seconds:
                raise NoProgress(f"The load of {job.model} on {job.host} made no progress for {seconds:g} s.")
        return working.result()
    finally:
        working.cancel()
        await asyncio.wait([working])


def _is_down(fleet: Fleet, name: str) -> bool:
    return name not in fleet.hosts or fleet.hosts[name].reach is Reach.DOWN


def _progress(fleet: Fleet, job: Job) -> tuple[str, LoadProgress | None] | None:
    """How far it is, without the estimate of the rest, which moves by itself."""
    host = fleet.hosts.get(job.host)
    entry = None if host is None else host.models.get(job.model)
    if entry is None:
        return None
    told = entry.progress
    still = None if told is None else LoadProgress(stage=told.stage, done_bytes=told.done_bytes)
    return entry.status.value, still
