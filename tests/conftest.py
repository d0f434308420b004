"""Fixtures that every suite shares: the asyncio backend, and where the shared oracles and real weights are."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Async tests run on asyncio with uvloop, as the daemons do."""
    return "asyncio", {"use_uvloop": True}


def shared_folder() -> Path | None:
    """The folder of shared oracles beside the checkout, or None in a lone clone."""
    folder = Path(os.environ.get("CORTEX_SHARED", ROOT.parent / "shared"))
    return folder if (folder / "fixtures").is_dir() else None


@pytest.fixture(scope="session")
def shared() -> Path:
    """`shared/fixtures`; the test is skipped, saying so, where it is not there."""
    folder = shared_folder()
    if folder is None:
        pytest.skip("shared/fixtures is not beside this checkout (set CORTEX_SHARED to its folder)")
    return folder / "fixtures"
