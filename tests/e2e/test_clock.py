"""Gateway and host whose wall clock jumps, by a shim in their processes: no answer, load or host is lost."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, ask, body_of
from tests.wire.client import exchange
from tests.wire.endings import DIALECTS, Ending, judged

CHAT = "/v1/chat/completions"
DAY = 86_400
SHIM = Path(__file__).parent / "clock" / "shim.c"


class Clock:
    """The wall clock of all processes that have the environment."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler (cc) to build the clock's shim with")
        library = folder / "shim.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SHIM, "-ldl"], check=True)
        self._file = folder / "shift"
        self.environ = {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(self._file)}
        self.shift(0)

    def shift(self, seconds: int) -> None:
        """Be so far from the real time from now on."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.replace(self._file)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture
def cluster(tmp_path: Path, clock: Clock) -> Iterator[Cluster]:
    """Two models of which the host can hold one, each for a second at least."""
    with Cluster(tmp_path) as made:
        made.models = "".join(f'[[models]]\nid = "{name}"\nvram_mb = 60\n' for name in ("alpha", "beta"))
        made.environ = clock.environ
        made.scripted("beast", "--sizes", "60")
        made.configure(
            "keep_alive_secs = 0.5",
            "[eviction]\nmin_residency_secs = 1\nidle_ttl_secs = 600\n[responses]\nstore = true\n",
        )
        made.start_gateway()
        yield made


def asked(cluster: Cluster, model: str, path: str = CHAT, fault: str = "none") -> tuple[Ending, str]:
    body = body_of(path, f"fault:{fault}", stream=True, model=model)
    return judged(path, body, ask(cluster, path, body, seconds=20))


@pytest.mark.parametrize("jump", [DAY, -DAY], ids=["forward", "back"])
def test_answers_go_on_and_models_come_and_go_as_before(cluster: Cluster, clock: Clock, jump: int) -> None:
    async def across() -> list[tuple[Ending, str]]:
        bodies = {path: body_of(path, "fault:slow", stream=True, model="alpha") for path in DIALECTS}
        running = {path: asyncio.create_task(exchange(cluster.api, path, body)) for path, body in bodies.items()}
        await asyncio.sleep(0.4)
        clock.shift(jump)
        return [judged(path, bodies[path], await task) for path, task in running.items()]

    assert asked(cluster, "alpha") == (Ending.OK, "")
    assert asyncio.run(across()) == [(Ending.OK, "")] * len(DIALECTS)
    for model in ("beta", "alpha", "beta"):  # each displaces the other, after its second
        assert asked(cluster, model) == (Ending.OK, "")
    cluster.idle()
    seconds = [line["seconds"] for line in cluster.lines() if line["event"] == "ended"]
    assert all(0 <= one < 20 for one in seconds), "durations are of the steady clock"


def test_what_was_held_against_a_host_is_not_held_for_a_day(cluster: Cluster, clock: Clock) -> None:
    for _ in range(3):  # it goes away again and again, and fails what it is asked
        assert asked(cluster, "alpha", fault="cut_first")[0] is Ending.ERROR
        cluster.daemons["beast"].kill()
        cluster.until(lambda: cluster.fleet()["beast"]["health"] == "down", "down")
        cluster.start("beast")
        cluster.until(lambda: cluster.fleet()["beast"]["health"] == "up", "up")
    clock.shift(-DAY)
    for path in DIALECTS:
        assert asked(cluster, "alpha", path) == (Ending.OK, "")
