"""Real gateway process: restarts under load, a full disk, a sudden end, a wedged host, clients that behave badly."""

import asyncio
import json
import resource
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, ask, body_of, resident_bytes
from tests.e2e.daemons import get_json
from tests.wire.client import Manners, exchange, request_bytes
from tests.wire.endings import DIALECTS, Ending, judged

MODEL = "alpha"
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
MIB = 1 << 20
_TCP_REPAIR = 19


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A gateway to be started, which knows two models of scripted hosts."""
    with Cluster(tmp_path) as made:
        made.models = "".join(f'[[models]]\nid = "{name}"\nvram_mb = 40\n' for name in ("alpha", "beta"))
        yield made


def asked(cluster: Cluster, path: str = CHAT, fault: str = "none", *, stream: bool = False) -> tuple[Ending, str]:
    """How a request ended."""
    body = body_of(path, f"fault:{fault}", stream=stream, model=MODEL)
    return judged(path, body, ask(cluster, path, body))


def ended_once(cluster: Cluster) -> Counter[str]:
    """The ledger's outcomes; each request began once and ended once."""
    lines = cluster.lines()
    began = Counter(line["id"] for line in lines if line["event"] == "began")
    ended = Counter(line["id"] for line in lines if line["event"] == "ended")
    assert set(began.values()) <= {1}
    assert began == ended
    return Counter(line["outcome"] for line in lines if line["event"] == "ended")


async def load_through(cluster: Cluster, clients: int, requests: int, act: Any) -> Counter[tuple[Ending, str]]:
    """Clients that ask one request after the other while `act` does something; where nobody listens they try again."""
    seen: Counter[tuple[Ending, str]] = Counter()

    async def client(number: int) -> None:
        for at in range(requests):
            path = list(DIALECTS)[(number + at) % len(DIALECTS)]
            body = body_of(path, "fault:slow", stream=(number // len(DIALECTS) + at) % 2 == 0, model=MODEL)
            seen[await until_accepted(cluster, path, body, f"{number}-{at}")] += 1

    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(client(number))
        await asyncio.sleep(1.5)
        await asyncio.to_thread(act)
    return seen


async def until_accepted(cluster: Cluster, path: str, body: dict[str, Any], id_: str) -> tuple[Ending, str]:
    """How it ended, once the gateway took it in; a connection that broke before is none of its requests."""
    while True:
        try:
            answer = await exchange(cluster.api, path, body, headers={"x-request-id": id_})
        except ConnectionRefusedError:
            await asyncio.sleep(0.02)
            continue
        verdict = judged(path, body, answer)
        if verdict[0] is not Ending.CUT or any(line.get("request_id") == id_ for line in cluster.lines()):
            return verdict


def test_a_restart_under_load_loses_nobody(cluster: Cluster) -> None:
    cluster.scripted("beast", MODEL)
    cluster.configure("drain_secs = 10")
    cluster.start_gateway()

    def restart() -> None:
        assert cluster.gateway.stop() == 0
        cluster.start_gateway()

    seen = asyncio.run(load_through(cluster, clients=12, requests=4, act=restart))
    assert sum(seen.values()) == 48
    assert {ending for ending, _ in seen} <= {Ending.OK, Ending.ERROR}, seen
    assert {code for ending, code in seen if ending is Ending.ERROR} <= {"shutting_down", "overloaded_error"}, seen
    cluster.idle()
    assert ended_once(cluster)["ok"] == seen[Ending.OK, ""]
    assert set(ended_once(cluster)) <= {"ok", "shutting_down"}


def test_a_restart_that_cannot_wait_ends_every_answer_in_its_dialect(cluster: Cluster) -> None:
    cluster.scripted("beast", MODEL)
    cluster.configure("drain_secs = 0.1")
    cluster.start_gateway()

    def restart() -> None:
        assert cluster.gateway.stop() == 0
        cluster.start_gateway()

    seen = asyncio.run(load_through(cluster, clients=12, requests=3, act=restart))
    assert sum(seen.values()) == 36
    assert Ending.CUT not in {ending for ending, _ in seen}, seen
    assert Ending.BROKEN in {ending for ending, _ in seen}, seen
    assert ended_once(cluster)["ok"] == seen[Ending.OK, ""]


def test_a_gateway_that_is_killed_under_load_has_counted_what_it_answered_once(cluster: Cluster) -> None:
    cluster.scripted("beast", MODEL)
    cluster.configure()
    cluster.start_gateway()

    def kill() -> None:
        cluster.gateway.kill()
        cluster.start_gateway()

    seen = asyncio.run(load_through(cluster, clients=12, requests=4, act=kill))
    assert sum(seen.values()) == 48
    cut = sum(count for (ending, _), count in seen.items() if ending is Ending.CUT)
    assert 0 < cut <= 12, "those that ran, one for each client at most"
    assert {ending for ending, _ in seen} == {Ending.OK, Ending.CUT}, seen
    outcomes = ended_once(cluster)
    assert set(outcomes) == {"ok", "gateway_killed"}
    # a whole answer is booked before it is sent, a stream after its last byte: one moment between them is anyone's
    assert abs(outcomes["ok"] - seen[Ending.OK, ""]) <= 1
    tokens = sum(line.get("completion_tokens", 0) for line in cluster.lines() if line.get("outcome") == "ok")
    assert tokens == 40 * outcomes["ok"]


def test_a_full_disk_stops_no_request_and_the_books_go_on_when_there_is_room(cluster: Cluster) -> None:
    cluster.scripted("beast", MODEL)
    cluster.configure()
    cluster.start_gateway()
    for _ in range(20):
        assert asked(cluster) == (Ending.OK, "")
    size = cluster.ledger_file.stat().st_size
    assert cluster.gateway.log.stat().st_size < size, "else its messages are what fills up first"
    pid = cluster.gateway.process.pid
    limit = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size + 100, limit[1]))
    for path in DIALECTS:
        for stream in (False, True):
            assert asked(cluster, path, stream=stream) == (Ending.OK, ""), (path, stream)
    lost = cluster.sample("cortex_usage_ledger_errors_total")
    assert lost == 16, "each beginning and each ending is lost and counted"
    resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
    for _ in range(5):
        assert asked(cluster) == (Ending.OK, "")
    assert ended_once(cluster) == {"ok": 25}
    assert cluster.sample("cortex_usage_ledger_errors_total") == lost
    assert cluster.sample("cortex_requests_total", outcome="ok") == 33
    assert cluster.gateway.stop() == 0


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_wedged_host_holds_nobody_for_its_whole_time_limit(cluster: Cluster) -> None:
    """The time limit is ten minutes; it is known to be silent long before."""
    cluster.scripted("aaa", MODEL)
    cluster.configure()
    cluster.start_gateway()
    cluster.scripted("bbb")
    cluster.configure()
    cluster.until(lambda: "bbb" in cluster.fleet() and cluster.fleet()["bbb"]["health"] == "up", "the second host")

    async def requests() -> list[tuple[Ending, str]]:
        bodies = [body_of(CHAT, f"fault:{fault}", stream=True, model=MODEL) for fault in ("stuck", "none")]
        stuck = asyncio.create_task(exchange(cluster.api, CHAT, bodies[0], seconds=90))
        await asyncio.to_thread(cluster.until, lambda: cluster.sample("cortex_model_in_flight") == 1, "streaming")
        await asyncio.sleep(0.2)
        cluster.freeze("aaa")
        fresh = asyncio.create_task(exchange(cluster.api, CHAT, bodies[1], seconds=90))
        return [judged(CHAT, body, await task) for body, task in zip(bodies, (stuck, fresh), strict=True)]

    try:
        assert asyncio.run(requests()) == [(Ending.BROKEN, "upstream_lost"), (Ending.OK, "")]
    finally:
        cluster.thaw("aaa")
    cluster.until(lambda: cluster.fleet()["aaa"]["health"] == "up", "back")
    cluster.idle()


def test_a_reader_that_stands_still_fills_no_memory_and_delays_nobody(cluster: Cluster) -> None:
    cluster.raw("cloud", "endless", MODEL)
    cluster.configure()
    cluster.start_gateway()
    assert asked(cluster) == (Ending.OK, "")
    before = resident_bytes(cluster.gateway.process.pid)
    with closing(socket.socket()) as still:
        still.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        still.connect(("127.0.0.1", cluster.api))
        body = body_of(CHAT, "fault:endless", stream=True, model="endless")
        still.sendall(request_bytes(CHAT, json.dumps(body).encode()))
        sent = steady_bytes(cluster)
        assert sent < 64 * MIB, "the host is held back too"
        for path in DIALECTS:
            assert asked(cluster, path, stream=True) == (Ending.OK, "")
        assert resident_bytes(cluster.gateway.process.pid) - before < 32 * MIB
    cluster.idle()
    assert ended_once(cluster)["client_gone"] == 1


def steady_bytes(cluster: Cluster) -> int:
    """What the raw server has sent, once it sends no more."""
    last, since = -1, time.monotonic()
    deadline = since + 30
    while time.monotonic() < deadline:
        sent = int(get_json(f"{cluster.hosts['cloud'].base}/stats")["sent"])
        if sent - last > MIB // 4:
            last, since = sent, time.monotonic()
        elif time.monotonic() - since > 1.0:
            return sent
        time.sleep(0.1)
    raise AssertionError(f"still sending after {last} bytes")


def test_a_slow_reader_gets_everything(cluster: Cluster) -> None:
    cluster.scripted("beast", MODEL)
    cluster.configure()
    cluster.start_gateway()
    body = body_of(CHAT, "fault:none", stream=True, model=MODEL)
    manners = Manners(read_bytes=40, pause_seconds=0.02)
    answer = asyncio.run(exchange(cluster.api, CHAT, body, manners=manners))
    assert judged(CHAT, body, answer) == (Ending.OK, "")
    assert b"Paris" in answer.body


@pytest.mark.parametrize("rude", [False, True], ids=["fin", "reset"])
def test_clients_that_leave_at_any_moment_leave_nothing_behind(cluster: Cluster, rude: bool) -> None:
    cluster.scripted("beast", MODEL)
    cluster.configure()
    cluster.start_gateway()

    async def leave() -> None:
        for path in DIALECTS:
            for stream in (False, True):
                body = body_of(path, "fault:slow", stream=stream, model=MODEL)
                for after in (0, 1, 400) if stream else (0,):
                    await exchange(cluster.api, path, body, manners=Manners(leave_after=after, rude=rude))

    asyncio.run(leave())
    cluster.idle()
    # who left before the request was read was never a request
    assert set(ended_once(cluster)) <= {"client_gone"}
    assert ended_once(cluster)["client_gone"] >= 8
    assert asked(cluster) == (Ending.OK, "")


def test_half_a_request_is_none(cluster: Cluster) -> None:
    cluster.scripted("beast", MODEL)
    cluster.configure()
    cluster.start_gateway()
    whole = request_bytes(CHAT, json.dumps(body_of(CHAT, "x", stream=False, model=MODEL)).encode())
    for length in (1, 30, len(whole) - 40, len(whole) - 1):
        with closing(socket.create_connection(("127.0.0.1", cluster.api), timeout=10)) as half:
            half.sendall(whole[:length])
            time.sleep(0.05)
    cluster.idle()
    assert cluster.lines() == []
    assert asked(cluster) == (Ending.OK, "")


def test_a_client_that_vanished_without_a_word_is_given_up(cluster: Cluster) -> None:
    """Its socket is taken away silently, which only root may do; it asked for an answer that takes for ever."""
    cluster.scripted("beast", MODEL)
    cluster.configure()
    cluster.start_gateway()
    body = body_of(CHAT, "fault:stuck", stream=False, model=MODEL)
    with closing(socket.create_connection(("127.0.0.1", cluster.api), timeout=10)) as client:
        client.sendall(request_bytes(CHAT, json.dumps(body).encode()))
        cluster.until(lambda: cluster.sample("cortex_model_in_flight") == 1, "asked")
        try:
            client.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
        except OSError:
            pytest.skip("only root may take a connection away without a word (TCP_REPAIR)")
    cluster.idle()
    assert ended_once(cluster) == {"client_gone": 1}
