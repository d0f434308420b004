"""`cortex validate` on a real gateway and neuron with the small real model."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Up

pytestmark = pytest.mark.real


def validate(*arguments: str) -> tuple[int, Any]:
    command = [sys.executable, "-m", "cortex.cli.cortex", "validate", "--json", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.stdout, result.stderr
    return result.returncode, json.loads(result.stdout)


def test_every_host_of_a_gateway_passes_in_both_dialects(up: Up) -> None:
    status, report = validate("--endpoint", up.gateway)
    assert (status, report["ok"]) == (0, True), report
    checks = {check["name"]: check for check in report["checks"]}
    assert {check["state"] for check in checks.values()} == {"passed"}
    for name in ("answer", "gateway openai", "gateway anthropic"):
        assert "Paris" in checks[name]["detail"]


def test_a_host_is_validated_alone_and_loads_what_it_is_asked_to(up: Up) -> None:
    status, report = validate("--host", up.neuron, "--load", up.model)
    assert (status, len(report["checks"])) == (0, 4), report


def test_a_model_that_cannot_be_loaded_fails_the_host(up: Up, tmp_path: Path) -> None:
    status, report = validate("--host", up.neuron, "--load", str(tmp_path / "absent.gguf"))
    assert status == 1
    failed = [check for check in report["checks"] if check["state"] == "failed"]
    assert [check["name"] for check in failed] == ["model"]
