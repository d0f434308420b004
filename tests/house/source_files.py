"""The files of this checkout that the house rules look at."""

import ast
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "cortex"


def tracked(*patterns: str) -> list[Path]:
    """Files that git tracks or would track, by pathspec; every file below the root where there is no git."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return sorted({ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()})
    suffixes = tuple(pattern.removeprefix("*") for pattern in patterns)
    return sorted(path for path in ROOT.rglob("*") if path.name.endswith(suffixes) and path.is_file())


def is_test(path: Path) -> bool:
    """Whether the limits for tests hold for this file."""
    parts = path.relative_to(ROOT).parts
    return parts[0] in ("tests", "benches") or "tests" in parts or "benches" in parts


def module_trees() -> list[tuple[Path, ast.Module]]:
    """Each Python file of the package with its syntax tree."""
    return [(path, ast.parse(path.read_text())) for path in sorted(PACKAGE.rglob("*.py"))]
