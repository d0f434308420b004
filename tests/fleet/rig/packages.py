"""Our packages in three builds, as a repository on disk that a test can publish, take away and bring back."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.fleet.rig.root import CACHE, Root, run

__all__ = ["BROKEN", "NEW", "OLD", "WHEELS", "Repository", "build_packages", "build_wheel"]

ROOT = Path(__file__).resolve().parents[3]
NATIVE = ROOT / "python" / "cortex" / "_native.abi3.so"
# What our packages bundle, for the Python of the root file system.
WHEELS = CACHE / "build" / "wheels"
OLD, NEW, BROKEN = "1.rig", "2.rig", "3.rig"
# It comes after other builds of the same files.
_BREAK = "printf '#!/bin/sh\\nexit 1\\n' > %{buildroot}/usr/lib/helexa-neuron/bin/neuron\n\n"


class Repository:
    """At `path`, with what was published last."""

    def __init__(self, path: Path, packages: dict[tuple[str, str], Path], version: str) -> None:
        self.path = path
        self.version = version
        self._packages = packages

    def build(self, release: str) -> str:
        """VERSION-RELEASE."""
        return f"{self.version}-{release}"

    def publish(self, *builds: tuple[str, str]) -> None:
        """Exactly these, as (package, release)."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        for build in builds:
            os.link(self._packages[build], self.path / self._packages[build].name)
        run("createrepo_c", "--quiet", self.path)

    def vanish(self) -> None:
        """As if its server were down."""
        self.path.rename(self.path.with_suffix(".gone"))

    def return_(self) -> None:
        self.path.with_suffix(".gone").rename(self.path)


def build_packages(root: Root, *releases: str) -> tuple[dict[tuple[str, str], Path], str]:
    """Packages by name and release, and their version; from the cache where nothing that goes into them changed."""
    out = CACHE / f"rpms-{_state(root)}"
    wanted = [(name, release) for release in releases for name in ("cortex", "helexa-neuron")]
    wanted = [build for build in wanted if build != ("cortex", BROKEN)]
    version = "9.0.0"
    paths = {build: out / f"{build[0]}-{version}-{build[1]}.x86_64.rpm" for build in wanted}
    absent = [build for build, path in paths.items() if not path.exists()]
    if absent:
        for old in CACHE.glob("rpms-*"):
            if old != out:
                shutil.rmtree(old)
        _build(root, out, absent, version)
    return paths, version


def build_wheel(out: Path, version: str) -> None:
    """Our own, with the engine that the packages have."""
    command = [sys.executable, ROOT / "rpm" / "tools" / "wheel.py", "--tree", ROOT, "--native", NATIVE]
    run(*command, "--out", out, "--version", version)


def _state(root: Root) -> str:
    digest = hashlib.sha256(root.python.encode())
    names = run("git", "-C", ROOT, "ls-files", "python", "rpm", "requirements.txt", "pyproject.toml").split()
    for path in [*(ROOT / name for name in names), NATIVE]:
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _varied(text: str, name: str, release: str, *, again: bool) -> str:
    """The spec for a build of the rig: packed quickly; a second one of the same files takes them from the first."""
    kept = f"/tmp/built/{name}"
    text = text.replace("w7.zstdio", "w1.zstdio")
    head, _, tail = text.partition("%build\n")
    build, _, tail = tail.partition("%check\n")
    check, _, tail = tail.partition("%post\n")
    keep = f"mkdir -p {kept}\ncp -a %{{buildroot}}/. {kept}/\n\n"
    take = f"%install\nmkdir -p %{{buildroot}}\ncp -a {kept}/. %{{buildroot}}/\n\n"
    if release == BROKEN:
        take += _BREAK
    middle = take + "%check\n\n" if again else build + keep + "%check\n" + check
    return f"{head}%build\n{middle}%post\n{tail}"


def _build(root: Root, out: Path, wanted: list[tuple[str, str]], version: str) -> None:
    work = CACHE / "build"
    run("rm", "-rf", work / "SOURCES", work / "specs")
    environ = {**os.environ, "PREBUILT": str(NATIVE), "CORTEX_VERSION": version, "CORTEX_RELEASE": "RELEASE"}
    environ["PATH"] = f"{ROOT}/.venv/bin:{environ['PATH']}"
    subprocess.run([ROOT / "rpm" / "tools" / "srpm.sh", work, root.python], env=environ, check=True, timeout=600)
    (work / "specs").mkdir()
    script = ["set -e"]
    built: set[str] = set()
    for name, release in wanted:
        text = (work / f"{name}.spec").read_text().replace("cortex_release RELEASE", f"cortex_release {release}")
        (work / "specs" / f"{name}-{release}.spec").write_text(_varied(text, name, release, again=name in built))
        built.add(name)
        options = "--define '_topdir /tmp/b' --define '_sourcedir /build/SOURCES' --define '_rpmdir /out'"
        script.append(f"rpmbuild -bb --quiet --nodeps {options} /build/specs/{name}-{release}.spec")
    (work / "run.sh").write_text("\n".join(script))
    out.mkdir(parents=True, exist_ok=True)
    upper, merged = work / "overlay", work / "root"
    for folder in (upper / "upper", upper / "work", merged):
        folder.mkdir(parents=True, exist_ok=True)
    run(
        "mount",
        "-t",
        "overlay",
        "overlay",
        "-o",
        f"lowerdir={root.path},upperdir={upper}/upper,workdir={upper}/work",
        merged,
    )
    try:
        nspawn = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "-D", merged, "--pipe"]
        run(*nspawn, f"--bind={work}:/build", f"--bind={out}:/out", "sh", "/build/run.sh", seconds=1800)
    finally:
        run("umount", merged)
        shutil.rmtree(upper)
    for path in (out / "x86_64").iterdir():
        path.rename(out / path.name)
