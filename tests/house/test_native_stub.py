"""The stub of the compiled module says exactly what the module has."""

import subprocess
import sys

from tests.house.source_files import ROOT


def test_the_stub_and_the_module_agree() -> None:
    command = [sys.executable, "-m", "mypy.stubtest", "cortex._native", "--mypy-config-file", "pyproject.toml"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
