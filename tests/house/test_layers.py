"""Who may import whom: the contracts of pyproject.toml, and the arrows of the Rust workspace."""

import subprocess
import sys
import tomllib

import pytest

from tests.house.source_files import ROOT

# What each crate of the workspace may depend on; the arrows of docs/architecture.md.
ARROWS = {
    "kernels": set(),
    "weights": {"cortex-kernels"},
    "text": set(),
    "scheduler": set(),
    "engine": {"cortex-kernels", "cortex-weights", "cortex-text", "cortex-scheduler"},
    "bindings": {"cortex-engine", "cortex-weights", "cortex-text", "cortex-kernels"},
}
TENSORS = {"candle-core", "candle-nn"}


def test_import_contracts_hold() -> None:
    command = [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("crate", sorted(ARROWS))
def test_crates_depend_downwards_only(crate: str) -> None:
    manifest = tomllib.loads((ROOT / "rust" / crate / "Cargo.toml").read_text())
    names = set(manifest.get("dependencies", {}))
    own = {name for name in names if name.startswith("cortex-")}
    assert own <= ARROWS[crate]
    if crate not in ("engine",):
        assert not names & TENSORS, "only the engine may use the tensor library"
    if crate != "bindings":
        assert "pyo3" not in names, "only the bindings may use PyO3"


@pytest.mark.parametrize("module", ["cortex.gateway.app", "cortex.config", "cortex.cli.cortex"])
def test_the_gateway_never_loads_the_engine(module: str) -> None:
    code = f"import sys, {module}; assert 'cortex._native' not in sys.modules, 'the compiled engine was imported'"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("module", ["cortex.cli.cortex", "cortex.cli.neuron"])
def test_the_command_line_imports_services_only_inside_commands(module: str) -> None:
    heavy = ["robyn", "granian", "aiohttp", "huggingface_hub", "prometheus_client"]
    code = f"import sys, {module}; loaded = set({heavy!r}) & set(sys.modules); assert not loaded, loaded"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
