"""Fetch the locked dependencies as wheels for another Python than this one, on x86-64 or AArch64 Linux.

    python3 rpm/tools/wheels.py --requirements requirements.txt --python 3.14 --out wheels

What is there already is not fetched again; what is not wanted any more is taken away.
"""

import argparse
import platform
import re
import subprocess
import sys
from pathlib import Path

__all__ = ["lines_for", "main"]

_TERM = re.compile(
    r"(?P<name>sys_platform|platform_machine|python_full_version) (?P<how>==|!=|>=|<) '(?P<value>[^']*)'"
)
_GLIBC = (34, 28, 27, 24, 17)


def lines_for(text: str, *, python: tuple[int, ...], machine: str) -> list[str]:
    """The requirements of a lock file whose markers hold on Linux with that Python; pip would judge them by its own."""
    pairs = (line.partition(" ; ") for line in text.splitlines())
    return [requirement for requirement, _, marker in pairs if not marker or _holds(marker, python, machine)]


def _holds(marker: str, python: tuple[int, ...], machine: str) -> bool:
    """Lock files write neither parentheses nor other names than those of the pattern."""
    return any(all(_term(term, python, machine) for term in part.split(" and ")) for part in marker.split(" or "))


def _term(term: str, python: tuple[int, ...], machine: str) -> bool:
    found = _TERM.fullmatch(term)
    assert found is not None, f"this marker is not known here: {term}"
    if found["name"] == "python_full_version":
        asked = tuple(int(part) for part in found["value"].split("."))
        return {">=": python >= asked, "<": python < asked, "==": python == asked, "!=": python != asked}[found["how"]]
    ours = "linux" if found["name"] == "sys_platform" else machine
    return (ours == found["value"]) is (found["how"] == "==")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Fetch wheels for another Python.")
    parser.add_argument("--requirements", type=Path, required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    machine = platform.machine()
    python = tuple(int(part) for part in given.python.split("."))
    wanted = lines_for(given.requirements.read_text(encoding="utf-8"), python=python, machine=machine)
    given.out.mkdir(parents=True, exist_ok=True)
    names = {requirement.split("==")[0].replace("-", "_").lower() for requirement in wanted}
    for old in given.out.glob("*.whl"):
        if old.name.split("-")[0].lower() not in names:
            old.unlink()
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in _GLIBC] + [f"manylinux2014_{machine}", "any"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--implementation", "cp", "--python-version", given.python, "--dest", str(given.out)]
    command += ["--abi", f"cp{''.join(given.python.split('.'))}", "--abi", "abi3", "--abi", "none"]
    command += [word for name in platforms for word in ("--platform", name)]
    subprocess.run([*command, "--find-links", str(given.out), *wanted], check=True)


if __name__ == "__main__":
    main()
