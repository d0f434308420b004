"""A call in a thread of its own, which the process does not wait for when it ends."""

import asyncio
import contextlib
import threading
from collections.abc import Callable

__all__ = ["in_own_thread"]


async def in_own_thread(work: Callable[[], None], *, name: str) -> None:
    """Run `work`, which may never return; raises what it raises."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            work()
        except BaseException as exc:
            error = exc
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    await done
