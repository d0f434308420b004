"""Which files of a repository or folder make the model asked for: pure choices over lists of names."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from cortex.errors import QuantNotFound, SourceNotFound

__all__ = ["SIDECARS", "Choice", "choose", "is_safe_name", "quant_at_load", "quant_label"]

# Small files that belong to the weights: what the model is, its tokenizer, its template, its sampling defaults.
SIDECARS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
)
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
# What the engine makes of safetensors while it loads them.
AT_LOAD = ("q8_0", "q6_k", "q4_k")
# The order of preference when no quantisation is asked for and a repository has several.
PREFERRED = ("Q4_K_M", "Q4_K_S", "Q5_K_M", "Q6_K", "Q8_0", "Q4_0", "Q4_1", "IQ4_XS", "MXFP4", "BF16", "F16")
_PART = re.compile(r"-(\d{5})-of-(\d{5})(?=\.gguf$)")
_LABEL = re.compile(
    r"(?<![A-Za-z0-9])(I?Q\d[A-Za-z0-9_]*|T?Q\d_\d|BF16|F16|F32|MXFP4\w*)(?![A-Za-z0-9])", re.IGNORECASE
)
_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=-]*")
MAX_DEPTH = 4


class Choice:
    """The chosen weights (in order; all parts of a split model) and the small files beside them."""

    def __init__(self, weights: tuple[str, ...], sidecars: tuple[str, ...]) -> None:
        self.weights = weights
        self.sidecars = sidecars

    @property
    def is_gguf(self) -> bool:
        """Whether the model is a GGUF file rather than a folder of safetensors."""
        return self.weights[0].endswith(".gguf")


def is_safe_name(name: str) -> bool:
    """Whether a file name from elsewhere can be used as a relative path: plain components, nothing hidden, no `..`."""
    parts = name.split("/")
    return len(parts) <= MAX_DEPTH and all(_COMPONENT.fullmatch(part) for part in parts)


def choose(names: Iterable[str], *, quant: str | None, what: str) -> Choice:
    """Choose the model's files. Numbers as in the code.

    1. A quantisation is asked for: the GGUF file whose name contains it, whole words first; where there is no GGUF file
    at all, the safetensors, if it is one that they can be given at load.
    2. None is asked for and there are safetensors: these.
    3. None is asked for: the only GGUF file, or the most preferred.
    Raises QuantNotFound (with what is there) or SourceNotFound (no model files at all).
    """
    safe = sorted(name for name in names if is_safe_name(name))
    models = _gguf_models(safe)
    sidecars = tuple(name for name in SIDECARS if name in safe)
    if quant is not None and not models and quant.lower() in AT_LOAD and _has_safetensors(safe):  # 1
        return Choice(_safetensors(safe), sidecars)
    if quant is not None:
        return Choice(models[_by_quant(models, quant, what, has_safetensors=_has_safetensors(safe))], sidecars)
    if _has_safetensors(safe):  # 2
        return Choice(_safetensors(safe), sidecars)
    if not models:
        raise SourceNotFound(f"{what} holds neither GGUF nor safetensors files")
    return Choice(models[_preferred(models, what)], sidecars)  # 3


def quant_at_load(path: Path, quant: str | None) -> str | None:
    """The quantisation that the engine has to make: none for a file, which has its own."""
    return quant.lower() if quant is not None and path.is_dir() else None


def quant_label(name: str) -> str:
    """The quantisation that a file name states, else the name."""
    found = _LABEL.findall(PurePosixPath(name).name.removesuffix(".gguf"))
    return str(found[-1]) if found else PurePosixPath(name).name


def _gguf_models(names: list[str]) -> dict[str, tuple[str, ...]]:
    """Models by the name of their first file; split models with all parts that should be there."""
    models: dict[str, tuple[str, ...]] = {}
    for name in names:
        if not name.endswith(".gguf") or PurePosixPath(name).name.startswith("mmproj"):
            continue
        part = _PART.search(name)
        if part is None:
            models[name] = (name,)
        elif part[1] == "00001":
            count = int(part[2])
            models[name] = tuple(_PART.sub(f"-{number:05}-of-{part[2]}", name) for number in range(1, count + 1))
    present = set(names)
    return {name: parts for name, parts in models.items() if present.issuperset(parts)}


def _by_quant(models: dict[str, tuple[str, ...]], quant: str, what: str, *, has_safetensors: bool) -> str:
    wanted = quant.lower()
    containing = [name for name in models if wanted in name.lower()]
    whole = re.compile(rf"(?<![a-z0-9_]){re.escape(wanted)}(?![a-z0-9_])")
    exact = [name for name in containing if whole.search(name.lower())]
    for candidates in (exact, containing):
        if candidates:
            return min(candidates, key=lambda name: (len(name), name))
    available = sorted({quant_label(name) for name in models})
    near = difflib.get_close_matches(quant.upper(), available, n=3)
    if available:
        text = f"{what} has no file of quantisation {quant!r}; it has {', '.join(available)}"
    elif has_safetensors:
        text = f"{what} has only safetensors; leave the quantisation out, or name {', '.join(AT_LOAD)}"
    else:
        text = f"{what} has no GGUF files"
    raise QuantNotFound(text, param="quant", extras={"available": available, "nearest": near})


def _preferred(models: dict[str, tuple[str, ...]], what: str) -> str:
    if len(models) == 1:
        return next(iter(models))
    labels = {name: quant_label(name).upper() for name in models}
    for label in PREFERRED:
        matching = [name for name, own in labels.items() if own == label]
        if len(matching) == 1:
            return matching[0]
    available = sorted({quant_label(name) for name in models})
    text = f"{what} has several models; name a quantisation: {', '.join(available)}"
    raise QuantNotFound(text, param="quant", extras={"available": available, "nearest": []})


def _has_safetensors(names: list[str]) -> bool:
    return "config.json" in names and bool(_safetensors(names))


def _safetensors(names: list[str]) -> tuple[str, ...]:
    """The single file, else the index and its shards (those named as shards), else any in the top folder."""
    if SINGLE in names:
        return (SINGLE,)
    top = [name for name in names if name.endswith(".safetensors") and "/" not in name]
    if INDEX in names:
        return (INDEX, *(name for name in top if name.startswith("model-")))
    return tuple(top)
