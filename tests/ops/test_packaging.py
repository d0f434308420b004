"""Specs, our wheel without a build backend, manual pages, and the versions that packages get."""

import itertools
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import typer

from cortex.cli import cortex, neuron
from cortex.ops.deploy.versions import Build

ROOT = Path(__file__).resolve().parents[2]
RPM = ROOT / "rpm"
SPECS = ("cortex", "helexa-neuron")


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is missing: apt-get install rpm rpmlint, or: dnf install rpm-build rpmlint")
    return path


def script(name: str) -> dict[str, Any]:
    return runpy.run_path(str(RPM / "tools" / name))


@pytest.mark.parametrize("options", [[], ["--with", "cuda"], ["--with", "prebuilt"]])
@pytest.mark.parametrize("spec", SPECS)
def test_specs_parse_and_nothing_is_left_unexpanded(spec: str, options: list[str]) -> None:
    command = [tool("rpmspec"), "-P", *options, str(RPM / f"{spec}.spec")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert "%{" not in result.stdout


def test_the_cuda_flavour_takes_over_the_original_s_names() -> None:
    command = [tool("rpmspec"), "-P", "--with", "cuda", str(RPM / "helexa-neuron.spec")]
    text = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "Name: helexa-neuron-cuda" in lines
    assert "Recommends: libcudnn9-cuda-13" in lines
    for name in ("ampere", "ada", "blackwell"):
        assert f"Provides: helexa-neuron-{name} = 0.1.0-1" in lines
        assert f"Obsoletes: helexa-neuron-{name} < 0.1.0-1" in lines


def test_rpmlint_has_nothing_to_say_beyond_what_is_explained() -> None:
    command = [tool("rpmlint"), "--config", str(RPM / "rpmlint.toml"), *(str(RPM / f"{spec}.spec") for spec in SPECS)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "0 errors, 0 warnings" in result.stdout, result.stdout + result.stderr


def test_our_wheel_is_made_without_a_backend_and_runs(tmp_path: Path) -> None:
    path = script("wheel.py")["build"](ROOT, tmp_path, version="9.8.7")
    again = script("wheel.py")["build"](ROOT, tmp_path / "again", version="9.8.7")
    assert path.name == "helexa_cortex-9.8.7-py3-none-any.whl"
    assert path.read_bytes() == again.read_bytes(), "the same files make the same wheel"
    names = zipfile.ZipFile(path).namelist()
    assert not [name for name in names if name.endswith((".so", ".pyc"))]
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(tmp_path / "x")]
    subprocess.run([*install, str(path)], check=True, timeout=120)
    run = [
        sys.executable,
        "-P",
        "-c",
        "import sys; sys.argv[1:] = ['version']; from cortex.cli.cortex import main; main()",
    ]
    said = subprocess.run(
        run, capture_output=True, text=True, check=True, timeout=60, env={"PYTHONPATH": str(tmp_path / "x")}
    )
    assert said.stdout == "9.8.7\n"


def test_a_wheel_with_the_engine_says_for_which_pythons_it_is(tmp_path: Path) -> None:
    native = tmp_path / "lib_native.so"
    native.write_bytes(b"\x7fELF")
    path = script("wheel.py")["build"](ROOT, tmp_path, native=native, version="1")
    assert "cp311-abi3-linux" in path.name
    assert zipfile.ZipFile(path).read("cortex/_native.abi3.so") == b"\x7fELF"


@pytest.mark.parametrize(("name", "app"), [("cortex", cortex.app), ("neuron", neuron.app)])
def test_every_command_has_its_place_in_the_manual(name: str, app: typer.Typer) -> None:
    text = script("manual.py")["page"](name, typer.main.get_command(app))
    for command in app.registered_commands:
        words = command.name or (command.callback.__name__ if command.callback else "")
        assert f'.SS "{name} {words.replace("-", "-")}' in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_call_the_command_that_they_complete(shell: str) -> None:
    assert "_NEURON_COMPLETE" in script("manual.py")["completion"]("neuron", shell)


def test_wheels_are_chosen_for_the_target_and_not_for_this_python() -> None:
    text = (
        "a==1\nb==1 ; sys_platform == 'win32'\nc==1 ; sys_platform != 'win32'\n"
        "d==1 ; python_full_version >= '3.13' and sys_platform == 'linux'\n"
        "e==1 ; platform_machine == 'arm64' or platform_machine == 'x86_64'\n"
    )
    lines = script("wheels.py")["lines_for"]
    assert lines(text, python=(3, 14), machine="x86_64") == ["a==1", "c==1", "d==1", "e==1"]
    assert lines(text, python=(3, 12), machine="aarch64") == ["a==1", "c==1"]


def test_every_marker_of_our_lock_file_is_understood() -> None:
    lines = script("wheels.py")["lines_for"]((ROOT / "requirements.txt").read_text(), python=(3, 14), machine="x86_64")
    assert "uvloop==" in "\n".join(lines)
    assert not [line for line in lines if ";" in line]


@pytest.mark.parametrize(
    ("release", "python"),
    [("0.20261125101500.gitabc1234", "0.2.0.dev20261125101500"), ("1", "0.2.0"), ("1.fc43", "0.2.0")],
)
def test_a_snapshot_is_a_development_version_for_python_too(release: str, python: str) -> None:
    command = ["sh", str(RPM / "tools" / "python_version.sh"), "0.2.0", release]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == python


def test_snapshots_grow_and_stay_below_the_version_to_come() -> None:
    order = ["0.20261124235959.gitffffff0", "0.20261125000000.git0000001", "1", "2"]
    builds = [Build(0, "0.2.0", release) for release in order]
    assert all(later.newer_than(earlier) for earlier, later in itertools.pairwise(builds))
