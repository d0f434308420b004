"""What the service manager hears, on a real notification socket."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cortex.http.notify import Notifier

PID = 4711
pytestmark = pytest.mark.anyio


class Manager:
    """The other end of $NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(5)

    def heard(self) -> list[str]:
        return self._socket.recv(4096).decode().split("\n")

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "notify")


@pytest.fixture
def manager(path: str) -> Iterator[Manager]:
    with contextlib.closing(Manager(path)) as manager:
        yield manager


def test_ready_says_what_the_daemon_does(manager: Manager, path: str) -> None:
    Notifier.of({"NOTIFY_SOCKET": path}, PID).ready("2 of 3\nhosts up")
    assert manager.heard() == ["READY=1", "STATUS=2 of 3 hosts up"]


def test_stopping_is_said(manager: Manager, path: str) -> None:
    Notifier.of({"NOTIFY_SOCKET": path}, PID).stopping()
    assert manager.heard() == ["STOPPING=1", "STATUS=draining"]


def test_an_abstract_socket_is_reached() -> None:
    name = f"cortex-test-{id(object())}"
    with contextlib.closing(Manager(f"\0{name}")) as manager:
        Notifier.of({"NOTIFY_SOCKET": f"@{name}"}, PID).ready("ok")
        assert manager.heard()[0] == "READY=1"


def test_a_manager_that_is_gone_does_not_end_the_daemon(tmp_path: Path) -> None:
    Notifier.of({"NOTIFY_SOCKET": str(tmp_path / "gone")}, PID).ready("ok")


async def test_status_is_sent_when_it_changed_and_life_every_time(manager: Manager, path: str) -> None:
    environ = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000", "WATCHDOG_PID": str(PID)}
    lines = iter(["loading 10%", "loading 10%", "1 models loaded"])
    last = "1 models loaded"
    task = asyncio.create_task(Notifier.of(environ, PID).keep_informed(lambda: next(lines, last), lambda: True))
    try:
        heard = [(await asyncio.to_thread(manager.heard))[0] for _ in range(6)]
    finally:
        task.cancel()
    assert heard[:5] == ["STATUS=loading 10%", "WATCHDOG=1", "WATCHDOG=1", "STATUS=1 models loaded", "WATCHDOG=1"]
    assert heard[5] == "WATCHDOG=1"


@pytest.mark.parametrize(
    ("environ", "alive"),
    [
        ({"WATCHDOG_USEC": "3000"}, False),
        ({"WATCHDOG_USEC": "3000", "WATCHDOG_PID": str(PID + 1)}, True),
        ({"WATCHDOG_USEC": "nonsense"}, True),
        ({}, True),
    ],
    ids=["an engine is stuck", "meant for another process", "no number", "not watched"],
)
async def test_no_sign_of_life_is_sent_when(environ: dict[str, str], alive: bool, manager: Manager, path: str) -> None:
    statuses = iter(str(number) for number in range(1000))
    notifier = Notifier.of({"NOTIFY_SOCKET": path, **environ}, PID)
    task = asyncio.create_task(notifier.keep_informed(lambda: next(statuses), lambda: alive))
    try:
        heard = [(await asyncio.to_thread(manager.heard))[0] for _ in range(2)]
    finally:
        task.cancel()
    assert heard == ["STATUS=0", "STATUS=1"]


async def test_without_a_manager_nothing_is_sent_and_nothing_waits() -> None:
    notifier = Notifier.of({}, PID)
    notifier.ready("ok")
    notifier.stopping()
    await asyncio.wait_for(notifier.keep_informed(lambda: "ok", lambda: True), 1)
