"""Runs a daemon to its end: uvloop, start, wait for SIGTERM or SIGINT, drain, exit 0; the service manager is told."""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Protocol, runtime_checkable

import uvloop

from cortex.http.notify import Notifier

__all__ = ["Reloadable", "Service", "run", "serve_until_signal"]

_log = logging.getLogger("cortex.http")
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Service(Protocol):
    """A daemon: `start` returns when it listens; `stop` drains within a deadline of its own and always ends, sooner
    after `hurry`.

    `status_line` says in a few words what it does now; `alive` is false once only a restart can help.
    """

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def hurry(self) -> None: ...

    def status_line(self) -> str: ...

    def alive(self) -> bool: ...


@runtime_checkable
class Reloadable(Protocol):
    """A daemon that reads its files anew on SIGHUP."""

    def reload(self) -> None: ...


async def serve_until_signal(
    service: Service, on_ready: Callable[[], Awaitable[None]] | None = None, notifier: Notifier | None = None
) -> None:
    """Start, wait for a signal, stop. A second signal ends the drain: what still runs is told so."""
    notifier = notifier or Notifier()
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    hurry = asyncio.Event()

    def on_signal(number: int) -> None:
        _log.info("%s: draining", signal.Signals(number).name)
        (hurry if asked.is_set() else asked).set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    if isinstance(service, Reloadable):
        loop.add_signal_handler(signal.SIGHUP, service.reload)
    try:
        await service.start()
        notifier.ready(service.status_line())
        telling = loop.create_task(notifier.keep_informed(service.status_line, service.alive), name="tell the manager")
        try:
            if on_ready is not None:
                await on_ready()
            await asked.wait()
        finally:
            notifier.stopping()
            await _stop(service, hurry)
            telling.cancel()
    finally:
        for number in (*_SIGNALS, signal.SIGHUP):
            loop.remove_signal_handler(number)


async def _stop(service: Service, hurry: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as group:
        stopping = group.create_task(service.stop())
        hurrying = group.create_task(hurry.wait())
        await asyncio.wait([stopping, hurrying], return_when=asyncio.FIRST_COMPLETED)
        if hurrying.done():
            service.hurry()
        await asyncio.wait([stopping])
        hurrying.cancel()


def run(service: Callable[[], Service], on_ready: Callable[[], Awaitable[None]] | None = None) -> int:
    """Make the service inside a fresh uvloop and run it; returns the exit code. Errors of the start pass through."""

    async def main() -> None:
        try:
            await serve_until_signal(service(), on_ready, Notifier.of(os.environ, os.getpid()))
        finally:
            for number in _SIGNALS:  # one that comes on the way out changes nothing any more
                signal.signal(number, signal.SIG_IGN)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    return 0
