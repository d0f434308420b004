"""What the gateway adds to each lone chunk of a stream: three processes (neuron, gateway, client), one clock.

Run: python -m benches.lone_chunks [ROUNDS]
Aim: under 0.3 ms. The neuron writes CLOCK_MONOTONIC into each chunk; the client subtracts it from the chunk's arrival.
"""

import json
import socket
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from benches.paced_neuron import STAMP
from tests.e2e.daemons import Daemon
from tests.e2e.fleet import MODEL, Fleet
from tests.gateway.rig import CHAT, MESSAGES

CHUNKS = 200
ROUNDS = 15
DIRECT, PASSED, TRANSLATED = "neuron itself", "gateway, passed through", "gateway, /v1/messages"
SECONDS = 30.0


def main() -> None:
    """Measure the three ways in turn, round after round, and print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    delays: dict[str, list[list[float]]] = {DIRECT: [], PASSED: [], TRANSLATED: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Fleet(folder, folder / "none.gguf", ("beast",)) as fleet:
            port = fleet.ports["beast"]
            command = ["benches.paced_neuron", str(port), MODEL, str(CHUNKS)]
            with Daemon(command, folder / "beast.log") as neuron:
                neuron.wait_for(f"{fleet.neuron_base('beast')}/health")
                fleet.start_gateway().wait_for(f"{fleet.base}/v1/models", lambda models: models["data"])
                ways = {DIRECT: (port, CHAT), PASSED: (fleet.api, CHAT), TRANSLATED: (fleet.api, MESSAGES)}
                for at in range(-1, rounds):  # the first round warms up
                    for way, (to, path) in ways.items():
                        measured = stream_delays(to, path)
                        if at >= 0:
                            delays[way].append(measured)
    print_table(delays)


def stream_delays(port: int, path: str) -> list[float]:
    """Milliseconds from sending to arrival of each chunk of one stream. Raises AssertionError if any is missing."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Go."}], "max_tokens": CHUNKS, "stream": True}
    raw = json.dumps(body).encode()
    fields = {
        "host": "127.0.0.1",
        "content-type": "application/json",
        "content-length": len(raw),
        "connection": "close",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    delays: list[float] = []
    rest = b""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=SECONDS)) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + raw)
        while data := connection.recv(1 << 16):
            now = time.monotonic_ns()
            rest += data
            end = 0
            for stamp in STAMP.finditer(rest):
                delays.append((now - int(stamp[1])) / 1e6)
                end = stamp.end()
            rest = rest[end:]
    assert len(delays) == CHUNKS, f"{len(delays)} of {CHUNKS} chunks of port {port}{path}, then {rest[-300:]!r}"
    return delays


def quantiles(delays: list[float]) -> tuple[float, float]:
    """p50 and p90."""
    tenths = statistics.quantiles(delays, n=10)
    return statistics.median(delays), tenths[8]


def print_table(delays: dict[str, list[list[float]]]) -> None:
    """Quantiles over all chunks; `added` is the median of the rounds' own differences, with the rounds' extremes."""
    direct = [quantiles(one) for one in delays[DIRECT]]
    print(f"{len(direct)} rounds of {CHUNKS} chunks, 2 to 5 ms apart; milliseconds from sending to arrival")
    print(f"{'':26}{'p50':>8}{'p90':>8}{'added p50 (min-max)':>26}{'added p90 (min-max)':>26}")
    for way, streams in delays.items():
        p50, p90 = quantiles([delay for one in streams for delay in one])
        print(f"{way:26}{p50:8.3f}{p90:8.3f}", end="")
        for at in (0, 1) if way != DIRECT else ():
            added = [quantiles(one)[at] - base[at] for one, base in zip(streams, direct, strict=True)]
            told = f"{statistics.median(added):.3f} ({min(added):.3f} to {max(added):.3f})"
            print(f"{told:>26}", end="")
        print()


if __name__ == "__main__":
    main()
