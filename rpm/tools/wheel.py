"""Make our wheel from a source tree without maturin: the Python files, and the compiled engine where it is given.

    python3 rpm/tools/wheel.py --tree . --out dist [--native target/dist/lib_native.so] [--version 0.1.0]

Packages are built offline and the gateway needs no engine, so neither a build backend nor Rust is asked for. The
result follows the binary distribution format (PEP 427) and is the same for the same files.
"""

import argparse
import base64
import csv
import hashlib
import io
import platform
import tomllib
import zipfile
from pathlib import Path

__all__ = ["build", "main"]

_EPOCH = (1980, 1, 1, 0, 0, 0)
_LEFT_OUT = (".so", ".pyc", ".pyd")


def build(tree: Path, out: Path, *, native: Path | None = None, version: str | None = None) -> Path:
    """Write the wheel of `tree` into `out`; pure without `native`, else for CPython 3.11 and newer on this machine."""
    project = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    version = version or project["version"]
    tag = "py3-none-any" if native is None else f"cp311-abi3-linux_{platform.machine()}"
    stem = f"{project['name'].replace('-', '_')}-{version}"
    files = _sources(tree / "python")
    if native is not None:
        files["cortex/_native.abi3.so"] = native.read_bytes()
    info = f"{stem}.dist-info"
    files[f"{info}/METADATA"] = _metadata(project, version, tree).encode()
    files[f"{info}/WHEEL"] = _wheel(tag, pure=native is None).encode()
    files[f"{info}/entry_points.txt"] = _entry_points(project).encode()
    files[f"{info}/licenses/LICENSE"] = (tree / "LICENSE").read_bytes()
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD").encode()
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = (0o100755 if name.endswith(".so") else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            wheel.writestr(entry, content)
    return path


def _sources(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in _LEFT_OUT)
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _metadata(project: dict[str, object], version: str, tree: Path) -> str:
    requirements = project["dependencies"]
    assert isinstance(requirements, list)
    lines = ["Metadata-Version: 2.4", f"Name: {project['name']}", f"Version: {version}"]
    lines += [f"Summary: {project['description']}", f"Requires-Python: {project['requires-python']}"]
    lines += [f"License-Expression: {project['license']}", "License-File: LICENSE"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requirements]
    lines += ["Description-Content-Type: text/markdown", ""]
    return "\n".join([*lines, (tree / str(project["readme"])).read_text(encoding="utf-8")])


def _wheel(tag: str, *, pure: bool) -> str:
    return f"Wheel-Version: 1.0\nGenerator: cortex\nRoot-Is-Purelib: {str(pure).lower()}\nTag: {tag}\n"


def _entry_points(project: dict[str, object]) -> str:
    scripts = project["scripts"]
    assert isinstance(scripts, dict)
    return "\n".join(["[console_scripts]", *(f"{name}={target}" for name, target in scripts.items()), ""])


def _record(files: dict[str, bytes], own: str) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        rows.writerow([name, f"sha256={digest}", len(content)])
    rows.writerow([own, "", ""])
    return text.getvalue()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make our wheel from a source tree.")
    parser.add_argument("--tree", type=Path, default=Path())
    parser.add_argument("--out", type=Path, default=Path("dist"))
    parser.add_argument("--native", type=Path)
    parser.add_argument("--version")
    given = parser.parse_args()
    path = build(given.tree, given.out, native=given.native, version=given.version)
    print(path)  # noqa: T201  (its data)


if __name__ == "__main__":
    main()
