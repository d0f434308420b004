"""Real gateway process, an upstream that misbehaves on the wire: exactly one well-formed ending in every dialect."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, ask, body_of
from tests.fakes.raw_server import BEFORE, DURING
from tests.wire.client import Exchange
from tests.wire.endings import DIALECTS, Ending, judged

MODEL = "delta"
IDLE_SECONDS = 1.0
SILENT = ("never", "stall")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A gateway in front of one bad server, which it gives up after a second of silence."""
    with Cluster(tmp_path_factory.mktemp("bad")) as running:
        running.raw("cloud", MODEL)
        running.configure(f"idle_timeout_secs = {IDLE_SECONDS}")
        running.start_gateway()
        yield running
        running.idle()
        assert running.gateway.stop() == 0
        assert "Traceback" not in running.gateway.output()


def fault_of(cluster: Cluster, path: str, fault: str, *, stream: bool) -> tuple[dict[str, Any], Exchange]:
    body = body_of(path, f"fault:{fault}", stream=stream, model=MODEL)
    return body, ask(cluster, path, body)


def ended(cluster: Cluster) -> int:
    return sum(line["event"] == "ended" for line in cluster.lines())


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fault", BEFORE)
def test_a_fault_instead_of_an_answer_is_a_clean_error(cluster: Cluster, fault: str, stream: bool) -> None:
    for path in DIALECTS:
        before = ended(cluster)
        body, answer = fault_of(cluster, path, fault, stream=stream)
        ending, code = judged(path, body, answer)
        # a silent host is given up after the first keep-alive went out
        assert ending is (Ending.BROKEN if stream and fault in SILENT else Ending.ERROR), (path, code, answer)
        assert b"secret" not in answer.body
        assert b"html" not in answer.body
        assert ended(cluster) == before + 1


@pytest.mark.parametrize("fault", DURING)
def test_a_fault_in_mid_stream_is_an_error_event_and_the_end(cluster: Cluster, fault: str) -> None:
    for path in DIALECTS:
        before = ended(cluster)
        body, answer = fault_of(cluster, path, fault, stream=True)
        assert judged(path, body, answer)[0] is Ending.BROKEN, (path, answer)
        assert b"capital" in answer.body, "what came before the fault is not lost"
        assert b"secret" not in answer.body
        assert ended(cluster) == before + 1


@pytest.mark.parametrize("fault", ["trickle", "cut_after_end"])
@pytest.mark.parametrize("path", DIALECTS)
def test_a_server_that_only_behaves_strangely_is_a_good_one(cluster: Cluster, path: str, fault: str) -> None:
    """It sends byte by byte, or breaks the connection once all is said."""
    body, answer = fault_of(cluster, path, fault, stream=True)
    assert judged(path, body, answer) == (Ending.OK, "")
    assert b"Paris" in answer.body


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", DIALECTS)
def test_after_all_of_that_it_is_still_asked(cluster: Cluster, path: str, stream: bool) -> None:
    body, answer = fault_of(cluster, path, "none", stream=stream)
    assert judged(path, body, answer) == (Ending.OK, ""), answer
