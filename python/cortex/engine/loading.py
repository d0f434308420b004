"""Loading in a thread of its own: with progress, and without a model left behind when nobody waits any more."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from cortex import _native
from cortex.engine.options import LoadOptions

__all__ = ["OnProgress", "load_native"]

OnProgress = Callable[[str, int, int], None]
"""Takes stage (open, weights, warmup, done), bytes done and bytes in all."""

_LOOK_SECONDS = 0.1


async def load_native(path: Path, options: LoadOptions, on_progress: OnProgress | None) -> _native.Engine:
    """Load a model. A cancelled load stops at the next tensor, and this returns when it has stopped."""
    loader = _native.Loader(str(path), **msgspec.structs.asdict(options))
    running = asyncio.ensure_future(asyncio.to_thread(loader.run))
    try:
        while not running.done():
            await asyncio.wait([running], timeout=_LOOK_SECONDS)
            if on_progress is not None:
                on_progress(*loader.progress())
    except BaseException:
        await _abandon(loader, running)
        raise
    return running.result()


async def _abandon(loader: _native.Loader, running: "asyncio.Future[_native.Engine]") -> None:
    """Stop a load and free what it made; a second cancellation does not interrupt this."""
    loader.cancel()
    while not running.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([running])
    if running.exception() is None:
        running.result().close()
