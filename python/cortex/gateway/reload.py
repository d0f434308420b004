"""Reload: takes changed files into force while the gateway runs; one that is wrong changes nothing and is told."""

import asyncio
import logging
from collections.abc import Callable

from msgspec.structs import asdict

from cortex import logs
from cortex.config import GatewayConfig
from cortex.config.source import FILES, GatewayFiles, GatewaySource, Stamp
from cortex.gateway.metrics import Metrics

__all__ = ["Reloader", "needs_restart"]

_log = logging.getLogger("cortex.gateway")
_LOOK_SECONDS = 1.0
# Everything else of cortex.toml is taken at once.
_AT_START = ("usage", "responses", "neuron_tls")
_GATEWAY_AT_ONCE = ("load_wait_secs", "poll_secs")


class Reloader:
    """Owns the watching task. `apply` puts files into force."""

    def __init__(
        self,
        source: GatewaySource,
        files: GatewayFiles,
        apply: Callable[[GatewayFiles], None],
        metrics: Metrics,
        *,
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        self._source = source
        self._files = files
        self._started_with = files.config
        self._apply = apply
        self._metrics = metrics
        self._look_seconds = look_seconds
        self._asked = asyncio.Event()
        self._turn = asyncio.Lock()
        self._stamp: Stamp = source.stamp(files)
        self._task: asyncio.Task[None] | None = None
        self.troubles: dict[str, str] = {}

    def start(self) -> None:
        """Begin to watch the files."""
        for name in FILES:
            self._metrics.config_stale.labels(name).set(0)
        self._task = asyncio.get_running_loop().create_task(self._watch(), name="watch the configuration")

    def ask(self) -> None:
        """Read the files now, changed or not (SIGHUP)."""
        self._asked.set()

    async def look(self) -> None:
        """Take what was changed since the last look into force now."""
        await self._take(asked=False)

    async def close(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    @property
    def warnings(self) -> list[str]:
        """What stays as it was, and what waits for a restart."""
        kept = [f"{error}; what was read before stays in force" for error in self.troubles.values()]
        waiting = needs_restart(self._started_with, self._files.config)
        return [*kept, f"after a restart only: {', '.join(waiting)} of cortex.toml"] if waiting else kept

    async def _watch(self) -> None:
        while True:
            await self._take(asked=await self._pause())

    async def _take(self, *, asked: bool) -> None:
        try:
            async with self._turn:
                if asked or await asyncio.to_thread(self._source.stamp, self._files) != self._stamp:
                    await self._reload()
        except Exception:
            _log.exception("watching the configuration failed")

    async def _pause(self) -> bool:
        try:
            async with asyncio.timeout(self._look_seconds):
                await self._asked.wait()
        except TimeoutError:
            return False
        self._asked.clear()
        return True

    async def _reload(self) -> None:
        """1. Read; 2. take what is right into force; 3. tell. Files that changed meanwhile are read again."""
        before = await asyncio.to_thread(self._source.stamp, self._files)
        files, troubles = await asyncio.to_thread(self._source.reread, self._files)  # 1.
        self._apply(files)  # 2.
        self._files = files
        after = await asyncio.to_thread(self._source.stamp, files)
        self._stamp = before if before == after else ()
        self.troubles = {name: error.message for name, error in troubles.items()}
        for name in FILES:  # 3.
            wrong = name in troubles
            self._metrics.config_reloads.labels(name, "refused" if wrong else "ok").inc()
            self._metrics.config_stale.labels(name).set(wrong)
            if wrong:
                logs.event(_log, logging.ERROR, "file refused", file=name, reason=troubles[name].message)
        logs.event(_log, logging.INFO, "configuration read", models=len(self._files.models.models))
        for warning in self.warnings:
            _log.warning(warning)


def needs_restart(old: GatewayConfig, new: GatewayConfig) -> list[str]:
    """The keys of cortex.toml that differ and are read only at the start."""
    before, after = asdict(old.gateway), asdict(new.gateway)
    found = [f"gateway.{name}" for name in after if before[name] != after[name] and name not in _GATEWAY_AT_ONCE]
    return found + [name for name in _AT_START if getattr(old, name) != getattr(new, name)]
