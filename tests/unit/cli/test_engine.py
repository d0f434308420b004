"""Commands that run models, from an installation that has no engine: the gateway's package."""

import os
import shutil
import site
import subprocess
import venv
from pathlib import Path

import pytest

from cortex.cli.engine import launcher_beside

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def gateway_only(tmp_path: Path) -> Path:
    """Our files without the engine, run by an environment called as the package's is."""
    shutil.copytree(ROOT / "python", tmp_path / "files", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    venv.create(tmp_path / "lib" / "cortex", with_pip=False, symlinks=True)
    return tmp_path


def up(tree: Path) -> subprocess.CompletedProcess[str]:
    command = [
        str(tree / "lib" / "cortex" / "bin" / "python"),
        "-m",
        "cortex.cli.cortex",
        "up",
        "org/model",
        "--listen",
    ]
    path = os.pathsep.join([str(tree / "files"), *site.getsitepackages()])
    environ = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [*command, "127.0.0.1:0"], capture_output=True, text=True, timeout=50, check=False, env=environ
    )


def neighbour(tree: Path, text: str) -> Path:
    launcher = tree / "lib" / "helexa-neuron" / "bin" / "cortex"
    launcher.parent.mkdir(parents=True)
    launcher.write_text(text)
    launcher.chmod(0o755)
    return launcher


def test_without_an_engine_it_says_what_to_install(gateway_only: Path) -> None:
    ended = up(gateway_only)
    assert ended.returncode == 1
    assert "install helexa-neuron" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_engine_of_the_package_beside_it_is_used(gateway_only: Path) -> None:
    neighbour(gateway_only, '#!/bin/sh\necho "$@"\nexit 7\n')
    ended = up(gateway_only)
    assert (ended.returncode, ended.stdout) == (7, "up org/model --listen 127.0.0.1:0\n")


def test_nobody_is_handed_over_to_himself(tmp_path: Path) -> None:
    launcher = neighbour(tmp_path, "#!/bin/sh\n")
    assert launcher_beside(tmp_path / "lib" / "cortex") == launcher
    assert launcher_beside(tmp_path / "lib" / "helexa-neuron") is None
    launcher.chmod(0o644)
    assert launcher_beside(tmp_path / "lib" / "cortex") is None, "it cannot be run"
