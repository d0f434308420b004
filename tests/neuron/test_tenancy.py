"""Whose prompts share cached beginnings: those of one salt; the gateway sends one for each key."""

from pathlib import Path

import pytest

from tests.neuron.rig import Rig, running

pytestmark = pytest.mark.anyio
SALT = "x-cortex-cache-salt"
PATHS = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hello"}]},
    "/v1/completions": {"prompt": "hello"},
    "/v1/messages": {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 5},
    "/v1/responses": {"input": "hello"},
}


async def salts(rig: Rig, path: str, *given: str | None) -> list[int]:
    for salt in given:
        headers = {} if salt is None else {SALT: salt}
        assert (await rig.ask("POST", path, {"model": "alpha", **PATHS[path]}, headers)).status == 200
    return [sampling.cache_salt for sampling in rig.engine().asked[-len(given) :]]


@pytest.mark.parametrize("path", PATHS)
async def test_a_salt_is_the_same_for_the_same_tenant_and_no_other(tmp_path: Path, path: str) -> None:
    async with running(tmp_path) as rig:
        assert (await rig.load()).status == 200
        none, one, other, again, empty = await salts(rig, path, None, "ann", "bob", "ann", "")
        assert none == empty == 0
        assert one == again != 0
        assert other not in (one, 0)
        assert max(one, other) < 2**64


async def test_choices_of_one_request_share(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        assert (await rig.load()).status == 200
        body = {"model": "alpha", "n": 2, **PATHS["/v1/chat/completions"]}
        assert (await rig.ask("POST", "/v1/chat/completions", body, {SALT: "ann"})).status == 200
        first, second = [sampling.cache_salt for sampling in rig.engine().asked[-2:]]
        assert first == second != 0
