"""Both daemons under a service manager: ready, status, watchdog, stopping; a restart that refuses no connection."""

import contextlib
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ops.managed import Manager, managed, stop


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with contextlib.closing(Manager(tmp_path)) as manager:
        yield manager


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield listener


def gateway_files(folder: Path, listen: str = "127.0.0.1:0") -> Path:
    config = folder / "cortex.toml"
    config.write_text(f'[gateway]\nlisten = "{listen}"\nmetrics_listen = "127.0.0.1:0"\n')
    return config


def test_the_gateway_says_when_it_is_ready_alive_and_stopping(manager: Manager, tmp_path: Path) -> None:
    arguments = ["cortex.cli.cortex", "serve", "--config", str(gateway_files(tmp_path))]
    with managed(arguments, manager, tmp_path / "log") as process:
        manager.wait_for("READY=1\nSTATUS=0 of 0 hosts up, 0 models loaded, 0 requests running")
        manager.wait_for("WATCHDOG=1")
        assert stop(process) == 0, (tmp_path / "log").read_text()
        manager.wait_for("STOPPING=1")


def test_the_neuron_says_when_it_is_ready_alive_and_stopping(manager: Manager, tmp_path: Path) -> None:
    arguments = ["cortex.cli.neuron", "serve", "--host", "127.0.0.1", "--port", "0"]
    with managed(arguments, manager, tmp_path / "log") as process:
        manager.wait_for("READY=1\nSTATUS=0 models loaded, 0 requests running")
        manager.wait_for("WATCHDOG=1")
        assert stop(process) == 0, (tmp_path / "log").read_text()
        manager.wait_for("STOPPING=1")


class Client(threading.Thread):
    """Asks again and again, each time over a new connection, and counts."""

    def __init__(self, url: str) -> None:
        super().__init__(name="client loop")
        self._url = url
        self._ended = threading.Event()
        self.answered = 0
        self.failures: list[str] = []

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                with urllib.request.urlopen(self._url, timeout=30) as response:
                    response.read()
                    self.answered += 1
            except OSError as error:
                self.failures.append(repr(error))
            self._ended.wait(0.002)

    def end(self) -> None:
        self._ended.set()
        self.join(30)


@pytest.mark.slow
def test_a_restart_on_a_handed_over_socket_fails_no_request(
    manager: Manager, listener: socket.socket, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/health"
    arguments = ["cortex.cli.cortex", "serve", "--config", str(gateway_files(tmp_path))]
    client = Client(url)
    client.start()
    try:
        for _ in range(3):
            manager.forget()
            with managed(arguments, manager, tmp_path / "log", listener) as process:
                manager.wait_for("READY=1")
                before = client.answered
                while client.answered < before + 50:
                    assert process.poll() is None, (tmp_path / "log").read_text()
                    client.join(0.01)
                assert stop(process) == 0
    finally:
        threading.Thread(target=client.end).start()
        with managed(arguments, manager, tmp_path / "log", listener):
            client.join(30)
    assert client.answered >= 150
    assert client.failures == []


def test_a_socket_at_another_address_is_served_and_the_difference_said(
    manager: Manager, listener: socket.socket, tmp_path: Path
) -> None:
    config = gateway_files(tmp_path, "127.0.0.1:31313")
    with managed(["cortex.cli.cortex", "serve", "--config", str(config)], manager, tmp_path / "log", listener):
        manager.wait_for("READY=1")
    log = (tmp_path / "log").read_text()
    assert "listening on the socket handed over, not as configured" in log
    assert "gateway.listen=127.0.0.1:31313" in log


def test_a_socket_that_does_not_listen_is_refused_with_a_hint(manager: Manager, tmp_path: Path) -> None:
    arguments = ["cortex.cli.cortex", "serve", "--config", str(gateway_files(tmp_path))]
    with socket.socket() as plain, managed(arguments, manager, tmp_path / "log", plain) as process:
        assert process.wait(30) == 1
    assert "does not listen on TCP; see ListenStream=" in (tmp_path / "log").read_text()
