"""Packages, wheel and sdist made for real, as a packager makes them; nothing is fetched while they are built."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

from cortex.ops.starter import cached_starter
from tests.e2e.daemons import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
ROOT = Path(__file__).resolve().parents[2]
LARGEST = 150_000_000
ASKED = os.environ.get("CORTEX_TEST_PACKAGES") == "1"
# The build's own network namespace has no way out.
CUT_OFF = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
BIN = Path(sys.executable).parent


def run(*words: object, folder: Path = ROOT, timed: str = "", **environ: str) -> str:
    """A command's output, with its messages in the error where it fails; `timed` has its time printed."""
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **environ}
    start = time.monotonic()
    done = subprocess.run(
        [str(word) for word in words], cwd=folder, env=env, capture_output=True, text=True, timeout=3000, check=False
    )
    assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    if timed:
        print(f"\n{timed}: {time.monotonic() - start:.0f} s")
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def _asked() -> None:
    if not ASKED:
        pytest.skip("packages are built by make test-packages only (half an hour)")
    lacks = [name for name in ("rpmbuild", "rpmlint", "unshare") if not shutil.which(name)]
    if lacks:
        pytest.skip(f"missing: {', '.join(lacks)} (apt-get install rpm rpmlint util-linux)")


@pytest.fixture(scope="module")
def sources() -> Path:
    run("make", "srpm", timed="source packages")
    return ROOT / "dist" / "srpm"


@pytest.fixture(scope="module")
def wheel() -> Path:
    for old in (ROOT / "dist").glob("*.whl"):
        old.unlink()
    run("make", "wheel", timed="wheel")
    (found,) = (ROOT / "dist").glob("*.whl")
    print(f"{found.name}: {found.stat().st_size / 1e6:.1f} MB")
    return found


def test_both_packages_are_built_without_a_network(sources: Path) -> None:
    shutil.rmtree(ROOT / "dist" / "rpm", ignore_errors=True)
    for package in sources.glob("*.src.rpm"):
        words = ["rpmbuild", "--rebuild", "--nodeps", "--define", f"_topdir {ROOT}/dist/rpmbuild"]
        words += ["--define", f"_rpmdir {ROOT}/dist/rpm", str(package)]
        run(*CUT_OFF, *words, timed=package.name)
    built = list((ROOT / "dist" / "rpm").rglob("*.rpm"))
    assert len(built) == 2
    for package in built:
        size = int(run("rpm", "-qp", "--qf", "%{LONGSIZE}", package))
        print(f"{package.name}: {package.stat().st_size / 1e6:.1f} MB, installed {size / 1e6:.1f} MB")
        assert size < LARGEST
    said = run("rpmlint", "--config", ROOT / "rpm" / "rpmlint.toml", *built, *sources.glob("*.src.rpm"))
    assert "0 errors, 0 warnings" in said


def test_no_path_of_the_build_is_in_a_package(sources: Path, tmp_path: Path) -> None:
    """After the build: `sources` are those that it was made of."""
    for package in (ROOT / "dist" / "rpm").rglob("*.rpm"):
        run("sh", "-c", f"rpm2cpio {package} | cpio -id --quiet", folder=tmp_path)
    leaking = subprocess.run(
        ["grep", "-rlF", str(ROOT / "dist"), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert leaking.stdout == ""
    assert (tmp_path / "usr" / "lib" / "helexa-neuron").is_dir()
    assert sources.is_dir()


def test_the_wheel_runs_on_every_linux_of_its_tag(wheel: Path, tmp_path: Path) -> None:
    assert re.fullmatch(r"helexa_cortex-[\w.]+-cp311-abi3-manylinux_2_\d+_\w+\.whl", wheel.name), wheel.name
    venv.create(tmp_path / "tools", with_pip=True)
    run(tmp_path / "tools" / "bin" / "pip", "install", "-q", "auditwheel==6.8.2")
    said = run(tmp_path / "tools" / "bin" / "auditwheel", "show", wheel)
    tag = re.search(r"manylinux_2_\d+_\w+", wheel.name)
    assert tag is not None
    assert tag[0] in said
    assert "constrains the platform tag" in said, "and to nothing else than the C library"


def test_the_wheel_alone_gives_working_commands(wheel: Path, sources: Path, tmp_path: Path) -> None:
    """In a bare environment, from files: its dependencies as they are vendored in the source packages."""
    venv.create(tmp_path / "bare", with_pip=True)
    bare = tmp_path / "bare" / "bin"
    run(bare / "pip", "install", "-q", "--no-index", "--find-links", sources / "wheels", wheel, timed="pip install")
    assert run(bare / "neuron", "version") == run(bare / "cortex", "version")
    port, home = free_port(), tmp_path / "home"
    command = [bare / "cortex", "up", cached_starter(), "--name", "starter", "--listen", f"127.0.0.1:{port}"]
    command += ["--metrics-listen", "127.0.0.1:0", "--neuron-port", "0"]
    environ = {"PATH": os.environ["PATH"], "HOME": str(home)}
    start = time.monotonic()
    with (tmp_path / "up.log").open("wb") as log:
        process = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log, env=environ, cwd=tmp_path)
        try:
            while b"is loaded" not in (tmp_path / "up.log").read_bytes():
                assert process.poll() is None, (tmp_path / "up.log").read_text()
                assert time.monotonic() - start < 120
                time.sleep(0.1)
            print(f"cortex up, model loaded: {time.monotonic() - start:.1f} s")
            endpoint = f"http://127.0.0.1:{port}"
            assert "Paris" in run(bare / "cortex", "validate", "-e", endpoint)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_the_sdist_is_built_offline_from_vendored_crates(sources: Path, tmp_path: Path) -> None:
    run("maturin", "sdist", "--out", tmp_path)
    (sdist,) = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(sdist, tmp_path, filter="data")
    tree = sdist.with_name(sdist.name.removesuffix(".tar.gz"))
    (crates,) = (sources / "SOURCES").glob("*-crates.tar")
    shutil.unpack_archive(crates, tree, filter="data")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation"]
    environ = {"CARGO_HOME": str(tree / ".cargo"), "CARGO_TARGET_DIR": str(tmp_path / "target")}
    # Whether it builds is asked, not how fast it runs.
    environ |= {"CARGO_PROFILE_RELEASE_OPT_LEVEL": "0", "CARGO_PROFILE_RELEASE_LTO": "off"}
    run(*CUT_OFF, *pip, "--wheel-dir", tmp_path, tree, timed="wheel from the sdist", **environ)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size > 1_000_000
