"""Whether this installation has the compiled engine, and the one beside it that has: packages bring it separately."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from cortex.errors import ConfigError

__all__ = ["ensure_engine", "launcher_beside"]

# The private environment of the package helexa-neuron; the gateway's lies beside it.
_WITH_ENGINE = "helexa-neuron"


def ensure_engine() -> None:
    """Return where the engine is here; else become the same command of helexa-neuron's environment.

    Raises ConfigError where neither is installed.
    """
    if find_spec("cortex._native") is not None:
        return
    launcher = launcher_beside(Path(sys.prefix))
    if launcher is None:
        raise ConfigError(
            "this installation has no engine, so it runs no models: install helexa-neuron beside it "
            "(dnf install --best helexa-neuron), or run this from the wheel (pip install helexa-cortex)"
        )
    sys.stderr.flush()
    os.execv(launcher, [str(launcher), *sys.argv[1:]])


def launcher_beside(prefix: Path) -> Path | None:
    """`cortex` of the environment beside `prefix` that has the engine; None where there is none, or we are it."""
    launcher = prefix.parent / _WITH_ENGINE / "bin" / "cortex"
    return launcher if prefix.name != _WITH_ENGINE and os.access(launcher, os.X_OK) else None
