"""One gateway in front of one neuron that has a model loaded, for the tests that need no more."""

from collections.abc import AsyncIterator

import pytest

from tests.fakes.neuron import FakeNeuron
from tests.gateway.rig import Rig, running


@pytest.fixture
async def beast() -> FakeNeuron:
    """A host with `alpha` loaded and room for one more."""
    neuron = FakeNeuron("beast")
    neuron.put("alpha")
    return neuron


@pytest.fixture
async def rig(beast: FakeNeuron) -> AsyncIterator[Rig]:
    """A gateway in front of it."""
    async with running(beast) as rig:
        await rig.sees_loaded("beast", "alpha")
        yield rig
