"""Local models and those of packages; names that lead nowhere; the choice among files."""

from pathlib import Path

import pytest

from cortex.errors import QuantNotFound, SourceNotFound
from cortex.neuron.fetch import Fetch
from cortex.neuron.package_source import package_path
from cortex.neuron.selection import choose, is_safe_name, quant_at_load, quant_label
from cortex.neuron.sources import Sources

SOURCES = Sources(environ={"HOME": "/nonexistent", "HF_HUB_OFFLINE": "1"})


def test_a_path_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "tiny-Q4_0.gguf"
    model.write_bytes(b"x")
    assert SOURCES.resolve(str(model), fetch=Fetch()) == model
    assert SOURCES.resolve("any-name", source=str(model), fetch=Fetch()) == model
    assert SOURCES.resolve(str(tmp_path), quant="q4_0", fetch=Fetch()) == model
    assert SOURCES.resolve(str(tmp_path), fetch=Fetch()) == tmp_path
    monkeypatch.chdir(tmp_path)
    assert SOURCES.resolve("tiny-Q4_0.gguf", fetch=Fetch()) == Path("tiny-Q4_0.gguf")
    with pytest.raises(SourceNotFound, match="does not exist"):
        SOURCES.resolve(str(tmp_path / "absent.gguf"), fetch=Fetch())
    with pytest.raises(QuantNotFound, match="Q4_0"):
        SOURCES.resolve(str(tmp_path), quant="Q8_0", fetch=Fetch())


def test_a_file_of_another_quantisation_than_asked_for_is_refused(tmp_path: Path) -> None:
    labelled, plain = tmp_path / "tiny-Q4_0.gguf", tmp_path / "tiny.gguf"
    for model in (labelled, plain):
        model.write_bytes(b"x")
    assert SOURCES.resolve(str(labelled), quant="q4_0", fetch=Fetch()) == labelled
    assert SOURCES.resolve(str(plain), quant="Q8_0", fetch=Fetch()) == plain
    with pytest.raises(QuantNotFound, match="is Q4_0, not Q8_0"):
        SOURCES.resolve("any-name", quant="Q8_0", source=str(labelled), fetch=Fetch())


@pytest.mark.parametrize(
    "name",
    ["../etc/passwd", "a/../../b", "a/b/c", "a b/c", "a/..", "owner/na..me", "a\\b", "-x/y", "", "a/\n", "x" * 300],
)
def test_strange_repository_names_are_refused(name: str) -> None:
    with pytest.raises(SourceNotFound):
        SOURCES.resolve(name, source="huggingface", fetch=Fetch())


def test_an_unknown_scheme_lists_the_known_ones() -> None:
    with pytest.raises(SourceNotFound, match="huggingface, package") as caught:
        SOURCES.resolve("acme:owner/name", fetch=Fetch())
    assert caught.value.extras["available"] == ["huggingface", "package"]


def make_package(tmp_path: Path) -> Path:
    package = tmp_path / "weights_package"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "data" / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "data" / "tiny.gguf").write_bytes(b"x")
    (tmp_path / "secret.gguf").write_bytes(b"x")
    return package


def test_a_package_file_is_found_without_running_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_package(tmp_path) / "data" / "tiny.gguf"
    assert package_path("weights_package/data/tiny.gguf", [str(tmp_path)]) == model
    assert package_path("weights_package.data/tiny.gguf", [str(tmp_path)]) == model
    monkeypatch.syspath_prepend(str(tmp_path))
    assert SOURCES.resolve("package:weights_package/data/tiny.gguf", fetch=Fetch()) == model
    found = SOURCES.resolve("tiny", source="package:weights_package/data/tiny.gguf", fetch=Fetch())
    assert found == model


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("weights_package/../secret.gguf", "outside"),
        ("weights_package//etc/passwd", "outside"),
        ("weights_package/link.gguf", "outside"),
        ("weights_package/absent.gguf", "ships no"),
        ("absent_package/x.gguf", "no package"),
        ("../x/y.gguf", "no module name"),
        ("", "no module name"),
    ],
)
def test_a_package_path_stays_inside_its_package(tmp_path: Path, location: str, message: str) -> None:
    package = make_package(tmp_path)
    (package / "link.gguf").symlink_to(tmp_path / "secret.gguf")
    with pytest.raises(SourceNotFound, match=message):
        package_path(location, [str(tmp_path)])


def test_a_whole_word_wins_over_a_part_of_one() -> None:
    names = ["m-Q4_K_M.gguf", "m-Q4_K_S.gguf", "m-Q4_K.gguf", "m-IQ4_NL.gguf"]
    assert choose(names, quant="Q4_K", what="it").weights == ("m-Q4_K.gguf",)
    assert choose(names, quant="q4_k_s", what="it").weights == ("m-Q4_K_S.gguf",)
    assert choose(names, quant="Q4", what="it").weights == ("m-Q4_K.gguf",)


def test_without_a_quantisation_the_choice_is_preferred_or_asked_for() -> None:
    assert choose(["m-Q8_0.gguf", "m-Q4_K_M.gguf"], quant=None, what="it").weights == ("m-Q4_K_M.gguf",)
    assert choose(["m.gguf", "mmproj-m.gguf"], quant=None, what="it").weights == ("m.gguf",)
    with pytest.raises(QuantNotFound, match="name a quantisation"):
        choose(["a.gguf", "b.gguf"], quant=None, what="it")
    with pytest.raises(SourceNotFound, match="neither"):
        choose(["README.md", "model.bin"], quant=None, what="it")
    with pytest.raises(QuantNotFound, match="only safetensors"):
        choose(["config.json", "model.safetensors"], quant="Q4_0", what="it")


def test_safetensors_can_be_quantised_at_load_where_there_is_no_file_of_that_kind() -> None:
    assert choose(["config.json", "model.safetensors"], quant="Q8_0", what="it").weights == ("model.safetensors",)
    names = ["config.json", "model.safetensors", "m-Q8_0.gguf"]
    assert choose(names, quant="q8_0", what="it").weights == ("m-Q8_0.gguf",)


def test_only_a_folder_is_quantised_at_load(tmp_path: Path) -> None:
    assert quant_at_load(tmp_path, "Q8_0") == "q8_0"
    assert quant_at_load(tmp_path / "m-Q8_0.gguf", "Q8_0") is None
    assert quant_at_load(tmp_path, None) is None


def test_a_folder_of_safetensors_is_itself_the_model(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes(b"{}")
    sources = Sources(environ={})
    assert sources.resolve(str(tmp_path), quant="q4_k", fetch=Fetch()) == tmp_path


def test_an_incomplete_split_is_not_offered() -> None:
    names = ["m-Q4_0-00001-of-00003.gguf", "m-Q4_0-00002-of-00003.gguf"]
    with pytest.raises(QuantNotFound):
        choose(names, quant="Q4_0", what="it")


def test_names_from_elsewhere_are_plain_paths() -> None:
    assert is_safe_name("1_Pooling/config.json")
    assert quant_label("x/Model-7B-Q5_K_M.gguf") == "Q5_K_M"
    for name in ("../a", "/a", "a//b", ".hidden", "a/.b", "a\\b", "a/b/c/d/e", "", "a\n"):
        assert not is_safe_name(name), name
