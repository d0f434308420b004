"""Fetching from a registry: download, resume, cache, checksum, refusals, and where the token goes."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cortex.config.neuron import CandleConfig, SourceConfig
from cortex.errors import QuantNotFound, SourceNotFound
from cortex.neuron.fetch import Fetch, FetchCancelled
from cortex.neuron.sources import Sources
from tests.fakes.hub import COMMIT, FakeHub

REPO = "acme/tiny-GGUF"
FOLDER = "acme/tiny"
WEIGHTS = bytes(range(256)) * 4096
FILES = {
    "README.md": b"# tiny",
    "config.json": b"{}",
    "generation_config.json": b'{"temperature": 0.5}',
    "tiny-Q4_K_M.gguf": WEIGHTS,
    "tiny-Q8_0.gguf": b"8" + WEIGHTS,
    "big/tiny-BF16-00001-of-00002.gguf": b"first",
    "big/tiny-BF16-00002-of-00002.gguf": b"second",
    "mmproj-tiny-F16.gguf": b"projector",
    "../escape-Q4_K_M.gguf": b"outside",
}
SAFETENSORS = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
    "model.safetensors.index.json": b'{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}',
    "model-1.safetensors": b"one",
    "model-2.safetensors": b"two",
    "pytorch_model.bin": b"pickle",
}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub({REPO: dict(FILES), FOLDER: dict(SAFETENSORS)}) as running:
        yield running


def sources(hub: FakeHub, cache: Path, **environ: str) -> Sources:
    found = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_CACHE": str(cache), "HOME": str(cache), **environ}
    return Sources(environ=found, retry_seconds=0)


def test_a_quantised_file_is_fetched_with_its_small_files_and_progress(hub: FakeHub, tmp_path: Path) -> None:
    progress: list[tuple[int, int]] = []
    fetch = Fetch(lambda done, total: progress.append((done, total)))
    path = sources(hub, tmp_path).resolve(REPO, quant="q4_k_m", fetch=fetch)
    assert path.name == "tiny-Q4_K_M.gguf"
    assert path.read_bytes() == WEIGHTS
    assert path.parent.name == COMMIT
    assert (path.parent / "generation_config.json").read_bytes() == FILES["generation_config.json"]
    assert not (path.parent / "README.md").exists()
    total = len(WEIGHTS) + 2 + len(FILES["generation_config.json"])
    assert progress[0] == (0, total)
    assert progress[-1] == (total, total)
    assert [done for done, _ in progress] == sorted(done for done, _ in progress)


def test_what_is_cached_needs_no_request_and_no_network(hub: FakeHub, tmp_path: Path) -> None:
    path = sources(hub, tmp_path).resolve(REPO, quant="Q4_K_M", fetch=Fetch())
    hub.seen.clear()
    assert sources(hub, tmp_path).resolve(REPO, quant="Q4_K_M", fetch=Fetch()) == path
    assert hub.seen == []
    offline = sources(hub, tmp_path, HF_HUB_OFFLINE="1")
    assert offline.resolve(REPO, fetch=Fetch()) == path
    with pytest.raises(SourceNotFound, match="offline mode"):
        offline.resolve(REPO, quant="Q8_0", fetch=Fetch())
    assert hub.seen == []


def test_an_unreachable_registry_leaves_the_cache_usable(hub: FakeHub, tmp_path: Path) -> None:
    path = sources(hub, tmp_path).resolve(REPO, quant="Q4_K_M", fetch=Fetch())
    gone = {"HF_ENDPOINT": "http://127.0.0.1:1"}
    assert sources(hub, tmp_path, **gone).resolve(REPO, fetch=Fetch()) == path
    with pytest.raises(SourceNotFound, match="cannot be reached"):
        sources(hub, tmp_path, **gone).resolve("acme/other", fetch=Fetch())


def test_sharded_safetensors_come_with_tokenizer_and_template(hub: FakeHub, tmp_path: Path) -> None:
    path = sources(hub, tmp_path).resolve(FOLDER, fetch=Fetch())
    assert sorted(file.name for file in path.iterdir()) == sorted(SAFETENSORS.keys() - {"pytorch_model.bin"})
    hub.seen.clear()
    assert sources(hub, tmp_path).resolve(FOLDER, fetch=Fetch()) == path
    assert hub.seen == []


def test_all_parts_of_a_split_file_are_fetched(hub: FakeHub, tmp_path: Path) -> None:
    path = sources(hub, tmp_path).resolve(REPO, quant="BF16", fetch=Fetch())
    assert path.name == "tiny-BF16-00001-of-00002.gguf"
    assert path.with_name("tiny-BF16-00002-of-00002.gguf").read_bytes() == b"second"


def test_a_cut_connection_is_continued(hub: FakeHub, tmp_path: Path) -> None:
    hub.cuts["tiny-Q4_K_M.gguf"] = 300_000
    path = sources(hub, tmp_path).resolve(REPO, quant="Q4_K_M", fetch=Fetch())
    assert path.read_bytes() == WEIGHTS
    ranges = [request.headers.get("range") for request in hub.requests("GET", "Q4_K_M.gguf")]
    assert ranges[0] is None
    assert len(ranges) == 2
    assert ranges[1] == "bytes=300000-"


def test_a_cancelled_fetch_stops_and_the_next_one_continues_it(hub: FakeHub, tmp_path: Path) -> None:
    hub.repos[REPO]["tiny-Q4_K_M.gguf"] = WEIGHTS * 4
    cancel = threading.Event()

    def on_progress(done: int, total: int) -> None:
        if done > total // 2:
            cancel.set()

    with pytest.raises(FetchCancelled):
        sources(hub, tmp_path).resolve(REPO, quant="Q4_K_M", fetch=Fetch(on_progress, cancel))
    hub.seen.clear()
    path = sources(hub, tmp_path).resolve(REPO, quant="Q4_K_M", fetch=Fetch())
    assert path.read_bytes() == WEIGHTS * 4
    (continued,) = hub.requests("GET", "Q4_K_M.gguf")
    assert continued.headers["range"].startswith("bytes=")


def test_a_damaged_file_is_refused_and_removed(hub: FakeHub, tmp_path: Path) -> None:
    hub.damaged.add("tiny-Q4_K_M.gguf")
    with pytest.raises(SourceNotFound, match="damaged"):
        sources(hub, tmp_path).resolve(REPO, quant="Q4_K_M", fetch=Fetch())
    assert not list(tmp_path.rglob("*.gguf"))
    assert not list(tmp_path.rglob("*.incomplete"))
    hub.damaged.clear()
    assert sources(hub, tmp_path).resolve(REPO, quant="Q4_K_M", fetch=Fetch()).read_bytes() == WEIGHTS


def test_a_damaged_small_file_is_refused_too(hub: FakeHub, tmp_path: Path) -> None:
    hub.damaged.add("config.json")
    with pytest.raises(SourceNotFound, match="damaged"):
        sources(hub, tmp_path).resolve(REPO, quant="Q4_K_M", fetch=Fetch())


def test_a_missing_quantisation_lists_what_is_there(hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(QuantNotFound, match="BF16, Q4_K_M, Q8_0") as caught:
        sources(hub, tmp_path).resolve(REPO, quant="Q8_1", fetch=Fetch())
    assert caught.value.extras["available"] == ["BF16", "Q4_K_M", "Q8_0"]
    assert "Q8_0" in caught.value.extras["nearest"]


def test_an_unknown_repository_names_near_ones_in_the_cache(hub: FakeHub, tmp_path: Path) -> None:
    sources(hub, tmp_path).resolve(REPO, quant="BF16", fetch=Fetch())
    with pytest.raises(SourceNotFound, match="has no repository acme/tinny-GGUF") as caught:
        sources(hub, tmp_path).resolve("acme/tinny-GGUF", fetch=Fetch())
    assert caught.value.extras["nearest"] == [REPO]


def test_a_gated_repository_says_how_to_get_in(hub: FakeHub, tmp_path: Path) -> None:
    hub.gated.add(REPO)
    hub.token = "open-sesame"
    with pytest.raises(SourceNotFound, match=r"gated.*HF_TOKEN"):
        sources(hub, tmp_path).resolve(REPO, quant="BF16", fetch=Fetch())
    allowed = sources(hub, tmp_path, HF_TOKEN="open-sesame")
    assert allowed.resolve(REPO, quant="BF16", fetch=Fetch()).is_file()


def test_the_token_is_not_sent_to_the_host_of_a_redirect(tmp_path: Path) -> None:
    with FakeHub({REPO: dict(FILES)}) as storage, FakeHub({REPO: dict(FILES)}, storage=storage) as hub:
        found = sources(hub, tmp_path, HF_TOKEN="secret").resolve(REPO, quant="Q4_K_M", fetch=Fetch())
        assert found.read_bytes() == WEIGHTS
        assert all(request.headers.get("authorization") == "Bearer secret" for request in hub.seen)
        assert storage.requests("GET", "Q4_K_M.gguf")
        assert not any("authorization" in request.headers for request in storage.seen)


def test_the_token_is_not_sent_where_a_listing_moved_to(tmp_path: Path) -> None:
    with FakeHub({REPO: dict(FILES)}) as elsewhere, FakeHub({REPO: dict(FILES)}, moved=elsewhere) as hub:
        sources(hub, tmp_path, HF_TOKEN="secret").resolve(REPO, quant="BF16", fetch=Fetch())
        assert elsewhere.requests("GET", "/api/models/")
        assert not any("authorization" in request.headers for request in elsewhere.seen)


def test_a_scheme_has_its_own_endpoint_token_and_cache(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "of-the-process")
    with FakeHub({REPO: dict(FILES)}) as other:
        config = SourceConfig(endpoint=other.endpoint, auth_env="ACME_TOKEN", cache_dir=str(tmp_path / "acme"))
        environ = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_TOKEN": "hub-secret"}
        found = Sources(environ={**environ, "ACME_TOKEN": "acme-secret"}, sources={"acme": config}, retry_seconds=0)
        for model_id, source in ((f"acme:{REPO}", None), (REPO, "acme")):
            path = found.resolve(model_id, quant="BF16", source=source, fetch=Fetch())
            assert path.is_relative_to(tmp_path / "acme")
        assert {request.headers.get("authorization") for request in other.seen} == {"Bearer acme-secret"}
        assert hub.seen == []
        without = Sources(environ=environ, sources={"acme": config}, retry_seconds=0)
        other.seen.clear()
        without.resolve(REPO, quant="Q8_0", source="acme", fetch=Fetch())
        assert not any("authorization" in request.headers for request in other.seen)


def test_the_configuration_names_default_registry_and_cache(hub: FakeHub, tmp_path: Path) -> None:
    acme = SourceConfig(endpoint=hub.endpoint)
    config = CandleConfig(default_source="acme", sources={"acme": acme}, hf_cache=str(tmp_path / "hub"))
    environ = {"XDG_CACHE_HOME": str(tmp_path / "xdg"), "HF_ENDPOINT": hub.endpoint}
    path = Sources.of(config, environ).resolve(REPO, quant="BF16", fetch=Fetch())
    assert path.is_relative_to(tmp_path / "xdg" / "cortex" / "registries"), "another registry's own cache"
    path = Sources.of(config, environ).resolve(f"hf:{REPO}", quant="BF16", fetch=Fetch())
    assert path.is_relative_to(tmp_path / "hub")


def test_too_little_disk_is_said_before_anything_is_fetched(hub: FakeHub, tmp_path: Path) -> None:
    hub.stated_sizes["tiny-Q4_K_M.gguf"] = 1 << 60
    with pytest.raises(SourceNotFound, match="free") as caught:
        sources(hub, tmp_path).resolve(REPO, quant="Q4_K_M", fetch=Fetch())
    assert caught.value.extras["needed_bytes"] > 1 << 60
    assert hub.requests("GET", "resolve") == []
