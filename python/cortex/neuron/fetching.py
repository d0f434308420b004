"""Fetching: the blocking sources in threads of their own, so that a download holds up nothing else."""

import asyncio
import threading
from pathlib import Path

from cortex.neuron.fetch import Fetch
from cortex.neuron.progress import Progress
from cortex.neuron.sources import Sources
from cortex.protocol import LoadRequest

__all__ = ["Fetching"]

_AT_ONCE = 4


class Fetching:
    """Resolves what a load asks for to a path on this host."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def resolve(self, spec: LoadRequest, progress: Progress) -> Path:
        """The path of the model, fetched first if need be. A cancel ends the download too; what arrived is kept.

        Raises SourceNotFound, QuantNotFound.
        """
        cancel = threading.Event()
        fetch = Fetch(lambda done, total: progress.set("fetch", done, total), cancel)
        async with self._places:
            try:
                return await self._in_thread(spec, fetch)
            except asyncio.CancelledError:
                cancel.set()
                raise

    def _in_thread(self, spec: LoadRequest, fetch: Fetch) -> asyncio.Future[Path]:
        """A thread that does not hold up the daemon's exit while a registry is silent."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Path] = loop.create_future()

        def settle(path: Path | None, error: BaseException | None) -> None:
            if found.done():
                return
            if path is not None:
                found.set_result(path)
            elif error is not None:
                found.set_exception(error)

        def work() -> None:
            path, error = None, None
            try:
                path = self._sources.resolve(spec.model_id, quant=spec.quant, source=spec.source, fetch=fetch)
            except BaseException as raised:
                error = raised
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, path, error)

        threading.Thread(target=work, name=f"fetch {spec.model_id}", daemon=True).start()
        return found
