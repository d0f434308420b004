"""`cortex status` on a recorded picture of a fleet, on gateways that are none, and on none at all."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from typer.testing import CliRunner

from cortex.cli.cortex import app
from cortex.cli.status import fetch_fleet, print_status
from cortex.errors import ConfigError, UpstreamMalformed, UpstreamUnreachable

RECORDED = Path(__file__).resolve().parents[2] / "data" / "fleet.json"
NOW = 1_800_000_000.0
TABLE = """\
HOST   HEALTH  DEVICE         MEMORY USED               LOAD
beast  up      0 Example GPU  24.0 GB of 48.0 GB (50%)  87% 61 °C
               1 Example GPU  0 B of 48.0 GB (0%)       0% 35 °C
quad   up      0 cpu          ? of 16.0 GB              -
gone   down    -              -                         -

MODEL       STATUS                                       HOST   SIZE     CONTEXT  RUNNING  LAST USED
org/large   loaded                                       beast  24.0 GB  32768    3        5 min ago
org/broken  failed                                       quad   -        -        0        -
org/small   loading [########............] 40% 9 s left  quad   -        -        0        -
org/idle    not loaded                                   -      98.4 MB  -        -        -
small       alias of org/small                           -      -        -        -        -

FAILED      HOST   REASON
org/broken  beast  needs 90 GB
org/broken  quad   model.gguf ends at byte 1000
"""


def recorded() -> dict[str, Any]:
    fleet = json.loads(RECORDED.read_text())
    assert isinstance(fleet, dict)
    return fleet


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """A server that gives the same answer to every GET."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/api/fleet" else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_what_a_host_had_before_it_went_away_is_not_shown_as_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    fleet = recorded()
    fleet["hosts"][0]["health"] = "down"
    print_status(fleet, now=NOW)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("org/large")]
    assert [row.split()[1:4] for row in rows] == [["host", "is", "down"]]


def test_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    print_status(recorded(), now=NOW)
    assert capsys.readouterr().out == TABLE


def test_a_fleet_without_hosts_says_how_to_get_one(capsys: pytest.CaptureFixture[str]) -> None:
    print_status({"hosts": [], "models": [], "loads": [], "failures": []}, now=NOW)
    assert "[[neurons]]" in capsys.readouterr().out


def test_the_command_prints_the_tables_or_the_gateways_own_json() -> None:
    with answering(200, RECORDED.read_bytes()) as gateway:
        table = CliRunner().invoke(app, ["status", "-e", gateway])
        data = CliRunner().invoke(app, ["status", "-e", f"{gateway}/", "--json"])
    assert table.exit_code == data.exit_code == 0
    assert "org/large" in table.stdout
    assert json.loads(data.stdout) == recorded()


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [(404, b"{}", "404"), (200, b"<html>", "JSON"), (200, b"[]", "cortex gateway"), (200, b"{}", "cortex gateway")],
)
def test_what_is_no_gateway_is_said_so(status: int, body: bytes, told: str) -> None:
    with answering(status, body) as other, pytest.raises(UpstreamMalformed) as caught:
        fetch_fleet(other)
    assert other in str(caught.value)
    assert told in str(caught.value)


def test_no_gateway_at_all_says_how_to_start_one() -> None:
    with answering(200, b"{}") as address:
        pass
    with pytest.raises(UpstreamUnreachable, match="cortex up"):
        fetch_fleet(address)


def test_an_endpoint_without_scheme_is_refused() -> None:
    with pytest.raises(ConfigError, match="http://"):
        fetch_fleet("localhost:31313")
