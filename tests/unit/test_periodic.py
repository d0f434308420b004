"""Work that is done again and again."""

import asyncio
import logging

import pytest

from cortex.periodic import Periodic


def test_what_fails_is_logged_and_done_again(caplog: pytest.LogCaptureFixture) -> None:
    times = 0
    enough = asyncio.Event()

    async def work() -> None:
        nonlocal times
        times += 1
        if times == 1:
            raise KeyError("gone")
        enough.set()

    async def run() -> None:
        again = Periodic("counting", work, every_seconds=0.001)
        again.start()
        async with asyncio.timeout(10):
            await enough.wait()
        await again.close()
        seen = times
        await asyncio.sleep(0.01)
        assert times == seen

    with caplog.at_level(logging.ERROR, logger="cortex"):
        asyncio.run(run())
    assert "counting failed" in caplog.text


def test_what_was_never_started_can_be_closed() -> None:
    async def work() -> None:
        raise AssertionError

    asyncio.run(Periodic("nothing", work, every_seconds=1.0).close())
