"""Real hosts that die while they load or idle, and one that stops and goes on: nobody is lost, all is used again."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, ask, body_of
from tests.e2e.daemons import get_json
from tests.wire.client import Exchange
from tests.wire.endings import DIALECTS, Ending, judged

pytestmark = pytest.mark.real
MODEL = "starter"
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
SETTINGS = "idle_timeout_secs = 2.0\nload_wait_secs = 30"


@pytest.fixture
def cluster(tmp_path: Path, starter: Path) -> Iterator[Cluster]:
    """Hosts are added by the test; the catalogue knows the starter model."""
    with Cluster(tmp_path) as made:
        made.models = f'[[models]]\nid = "{MODEL}"\nsource = "{starter}"\n'
        yield made


class Asking:
    """A request in a thread of its own."""

    def __init__(self, cluster: Cluster, path: str, *, stream: bool, **more: Any) -> None:
        self._path, self._stream = path, stream
        self._answer: Exchange | None = None
        limit = "max_output_tokens" if path == RESPONSES else "max_tokens"
        self._body = body_of(path, "Tell me a story.", stream=stream, model=MODEL) | {limit: 8} | more
        self._thread = threading.Thread(target=self._run, args=(cluster,), daemon=True)
        self._thread.start()

    def _run(self, cluster: Cluster) -> None:
        self._answer = ask(cluster, self._path, self._body)

    def ended(self) -> tuple[Ending, str]:
        """How it ended."""
        self._thread.join(60)
        assert self._answer is not None, "it never ended"
        return judged(self._path, self._body, self._answer)


def entries(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    found = get_json(f"{cluster.hosts[name].base}/models")
    assert isinstance(found, list)
    return found


def host_that(cluster: Cluster, status: str, among: tuple[str, ...]) -> str:
    """The host that has the model in this state, as soon as one has."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for name in among:
            if any(entry["status"] == status for entry in entries(cluster, name)):
                return name
        time.sleep(0.002)
    raise AssertionError(f"no host is {status}")


def test_a_host_that_dies_while_it_loads_leaves_its_waiters_to_another(cluster: Cluster) -> None:
    for name in ("aaa", "bbb"):
        cluster.neuron(name)
    cluster.configure(SETTINGS)
    cluster.start_gateway()
    waiting = [Asking(cluster, path, stream=stream) for path in DIALECTS for stream in (False, True)]
    victim = host_that(cluster, "loading", ("aaa", "bbb"))
    cluster.daemons[victim].kill()
    assert [one.ended() for one in waiting] == [(Ending.OK, "")] * len(waiting)
    cluster.idle()
    assert cluster.fleet()[victim]["health"] == "down"
    assert cluster.sample("cortex_model_loads_total", neuron=victim, outcome="ok") == 0
    cluster.start(victim)
    cluster.until(lambda: cluster.fleet()[victim]["health"] == "up", "back")


def test_the_only_host_dies_while_it_loads_and_comes_back(cluster: Cluster) -> None:
    cluster.neuron("aaa")
    cluster.configure(SETTINGS)
    cluster.start_gateway()
    waiting = {path: Asking(cluster, path, stream=False) for path in (CHAT, MESSAGES)}
    host_that(cluster, "loading", ("aaa",))
    cluster.daemons["aaa"].kill()
    assert waiting[CHAT].ended() == (Ending.ERROR, "service_unavailable")
    assert waiting[MESSAGES].ended() == (Ending.ERROR, "overloaded_error")
    cluster.start("aaa")
    cluster.until(lambda: cluster.fleet()["aaa"]["health"] == "up", "back")
    assert Asking(cluster, CHAT, stream=True).ended() == (Ending.OK, "")
    cluster.idle()


def test_a_host_that_dies_idle_is_known_at_once_and_loads_anew_when_it_is_back(cluster: Cluster) -> None:
    cluster.neuron("aaa")
    cluster.configure(SETTINGS)
    cluster.start_gateway()
    assert Asking(cluster, CHAT, stream=False).ended() == (Ending.OK, "")
    cluster.daemons["aaa"].kill()
    took = cluster.until(lambda: cluster.fleet()["aaa"]["health"] == "down", "known to be down")
    assert took < 5, took  # its event stream broke; not the 15 s that silence takes
    assert Asking(cluster, CHAT, stream=True).ended() == (Ending.ERROR, "service_unavailable")
    cluster.start("aaa")
    cluster.until(lambda: cluster.fleet()["aaa"]["health"] == "up", "back")
    assert cluster.fleet()["aaa"]["models"] == []
    assert Asking(cluster, CHAT, stream=True).ended() == (Ending.OK, "")
    assert cluster.sample("cortex_model_loads_total", outcome="ok") == 2


def test_a_stopped_host_is_left_for_another_and_used_again_when_it_goes_on(cluster: Cluster) -> None:
    for name in ("aaa", "bbb"):
        cluster.neuron(name)
    cluster.configure(SETTINGS)
    cluster.start_gateway()
    assert Asking(cluster, CHAT, stream=False).ended() == (Ending.OK, "")
    frozen = host_that(cluster, "loaded", ("aaa", "bbb"))
    longer = Asking(cluster, CHAT, stream=True, max_tokens=4000, ignore_eos=True)
    cluster.until(lambda: cluster.sample("cortex_model_in_flight", neuron=frozen) > 0, "streaming")
    time.sleep(0.3)
    cluster.freeze(frozen)
    try:
        assert longer.ended() == (Ending.BROKEN, "upstream_lost")
        assert Asking(cluster, MESSAGES, stream=True).ended() == (Ending.OK, "")
        cluster.until(lambda: cluster.fleet()[frozen]["health"] == "down", "known to be down")
    finally:
        cluster.thaw(frozen)
    cluster.until(lambda: cluster.fleet()[frozen]["health"] == "up", "back")
    cluster.idle()
    other = "bbb" if frozen == "aaa" else "aaa"
    cluster.daemons[other].kill()
    cluster.until(lambda: cluster.fleet()[other]["health"] == "down", "only the first is left")
    assert Asking(cluster, CHAT, stream=True).ended() == (Ending.OK, "")
    cluster.idle()
    left = get_json(f"{cluster.hosts[frozen].base}/health")["models"]
    assert [model["in_flight"] for model in left] == [0], "what it was doing when it stopped is given up"
