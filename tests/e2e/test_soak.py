"""A short soak: some hundred requests with random faults; `python -m benches.soak` is the long one."""

from pathlib import Path

import pytest

from benches.soak.run import soak
from tests.wire.endings import Ending

REQUESTS = 240


@pytest.mark.timeout(180)
def test_every_request_has_one_ending_and_nothing_is_left(tmp_path: Path) -> None:
    report = soak(tmp_path, requests=REQUESTS, seed=7)
    assert report.wrong == []
    endings = [ending for _, (ending, _) in report.books.verdicts.values()]
    assert len(endings) == REQUESTS
    assert endings.count(Ending.OK) > REQUESTS / 3
    assert {Ending.ERROR, Ending.BROKEN, Ending.LEFT} <= set(endings)
    assert {"kill the gateway", "restart the gateway"} <= set(report.chaos.done)
