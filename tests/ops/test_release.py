"""`make release`: tags only what is committed, described and numbered."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "rpm" / "tools" / "release.sh"
FILES = {
    "CHANGELOG.md": "# Changelog\n\n## 1.2.3\n\n- Something new.\n\n## 1.2.2\n\n- Older.\n",
    "pyproject.toml": '[project]\nname = "helexa-cortex"\nversion = "1.2.3"\n',
    "Cargo.toml": '[workspace.package]\nversion = "1.2.3"\n\n[workspace.dependencies]\n',
}


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.net"]
    done = subprocess.run(
        ["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    git(tmp_path, "init", "-q")
    git(tmp_path, "config", "user.name", "test")
    git(tmp_path, "config", "user.email", "test@example.net")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "All")
    return tmp_path


def release(tree: Path, version: str) -> tuple[int, str]:
    done = subprocess.run(
        ["sh", str(SCRIPT), version], cwd=tree, capture_output=True, text=True, check=False, timeout=30
    )
    return done.returncode, done.stdout + done.stderr


def test_a_release_is_tagged_with_its_section_of_the_changelog(tree: Path) -> None:
    status, said = release(tree, "1.2.3")
    assert status == 0, said
    notes = git(tree, "tag", "-l", "--format=%(contents)", "v1.2.3")
    assert "- Something new." in notes
    assert "Older" not in notes
    assert release(tree, "1.2.3") == (1, "the tag v1.2.3 is there already\n")


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("CHANGELOG.md", "# Changelog\n\n## Unreleased\n", "has no section '## 1.2.3'"),
        ("pyproject.toml", '[project]\nversion = "1.2.2"\n', "pyproject.toml says 1.2.2"),
        ("Cargo.toml", '[workspace.package]\nversion = "1.2.2"\n', "Cargo.toml says 1.2.2"),
    ],
)
def test_what_does_not_fit_is_refused(tree: Path, name: str, text: str, reason: str) -> None:
    (tree / name).write_text(text)
    assert "not committed" in release(tree, "1.2.3")[1]
    git(tree, "commit", "-qam", "Change")
    status, said = release(tree, "1.2.3")
    assert status == 1
    assert reason in said
    assert git(tree, "tag") == ""


def test_a_version_is_three_numbers(tree: Path) -> None:
    assert release(tree, "next") == (1, "write make release VERSION=1.2.3\n")
