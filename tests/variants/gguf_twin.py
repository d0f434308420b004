"""A GGUF file in single precision of a safetensors model: the same weights by other names, some of them rearranged."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file

from tests.variants.gguf_metadata import ARCHITECTURES, LATENT, Config, Unsayable, head_dim, metadata, older

Array = np.ndarray
PERMUTED = frozenset({"llama", "mistral", "mixtral", "granite", "smollm3"})
"""Families whose files rotate neighbouring values, by a permutation of the rows of queries and keys."""
OFFSET = frozenset({"gemma2", "gemma3_text"})
"""Families whose files have the norms' weights plus one."""
NAMES = {
    "self_attn.sinks": "blk.{}.attn_sinks.weight",
    "mlp.gate.e_score_correction_bias": "blk.{}.exp_probs_b.bias",
    "mlp.router.weight": "blk.{}.ffn_gate_inp.weight",
    "mlp.router.bias": "blk.{}.ffn_gate_inp.bias",
    "mlp.gate_up_proj.weight": "blk.{}.ffn_up.weight",
    "self_attn.k_b": "blk.{}.attn_k_b.weight",
    "self_attn.v_b": "blk.{}.attn_v_b.weight",
}
"""What the table of gguf-py lacks."""


def twin(folder: Path, out: Path) -> str:
    """Write a folder's twin and expected outputs into `out`; says what became of it."""
    config = json.loads((folder / "config.json").read_text())
    if config["model_type"] not in ARCHITECTURES or "prompts" not in json.loads((folder / "expected.json").read_text()):
        return f"{out.name}: no GGUF file of this kind"
    out.mkdir(parents=True, exist_ok=True)
    path = out / "model-f32.gguf"
    try:
        _write(folder, path)
    except Unsayable as reason:
        path.unlink(missing_ok=True)
        return f"{out.name}: GGUF has no word for {reason}"
    if out != folder:
        shutil.copy(folder / "expected.json", out)
    return f"{out.name}: {path.name}"


def _write(folder: Path, path: Path) -> None:
    config = older(json.loads((folder / "config.json").read_text()))
    arch = ARCHITECTURES[config["model_type"]]
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    metadata(writer, config)
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    for name, array in _tensors(config, _weights(folder / "model.safetensors")):
        writer.add_tensor(_renamed(names, name), np.ascontiguousarray(array, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _weights(path: Path) -> dict[str, Array]:
    """All tensors in single precision; numpy knows no bfloat16, so that those are read as bits."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    header.pop("__metadata__", None)
    if all(entry["dtype"] != "BF16" for entry in header.values()):
        return {name: array.astype(np.float32) for name, array in load_file(path).items()}
    weights = {}
    for name, entry in header.items():
        start, end = (8 + size + offset for offset in entry["data_offsets"])
        bits = np.frombuffer(raw[start:end], dtype=np.uint16).astype(np.uint32) << 16
        weights[name] = bits.view(np.float32).reshape(entry["shape"])
    return weights


def _renamed(names: gguf.TensorNameMap, name: str) -> str:
    found = re.fullmatch(r"model\.layers\.(\d+)\.(.*)", name)
    if found and (known := NAMES.get(found[2])):
        return known.format(found[1])
    if name.startswith("rope_f"):
        return name
    stem, _, kind = name.rpartition(".")
    target = names.get_name(stem)
    if target is None:
        raise KeyError(name)
    return f"{target}.{kind}"


def _tensors(config: Config, weights: dict[str, Array]) -> Iterator[tuple[str, Array]]:
    """Names as the table knows them, and arrays as the format has them."""
    kind = config["model_type"]
    for name, array in _stacked(weights).items():
        if kind == "gpt_oss" and ".experts." in name:
            yield from _in_turns(name, array)
        elif kind in LATENT and name.endswith("kv_b_proj.weight"):
            yield from _latent(config, name, array)
        elif name.endswith("shared_expert_gate.weight"):
            yield name, array.reshape(-1)
        elif kind in OFFSET and name.endswith("norm.weight"):
            yield name, array + 1
        else:
            yield name, _permuted(config, name, array)
    yield from _factors(config)


def _stacked(weights: dict[str, Array]) -> dict[str, Array]:
    """Experts of a layer in one array, and everything else."""
    stacks: dict[str, dict[int, Array]] = {}
    others = {}
    for name, array in weights.items():
        found = re.fullmatch(r"(.*\.experts)\.(\d+)\.(.*)", name)
        if found:
            stacks.setdefault(f"{found[1]}.{found[3]}", {})[int(found[2])] = array
        else:
            others[name] = array
    return others | {name: np.stack([parts[i] for i in range(len(parts))]) for name, parts in stacks.items()}


def _in_turns(name: str, array: Array) -> Iterator[tuple[str, Array]]:
    """Gates and ups of gpt-oss alternate, and its matrices are the other way round."""
    bias = name.endswith("_bias")
    stem = name.removesuffix("_bias")
    turned = array if bias else array.swapaxes(1, 2)
    ending = "bias" if bias else "weight"
    if stem.endswith("gate_up_proj"):
        base = stem.removesuffix("gate_up_proj")
        yield f"{base}gate_proj.{ending}", turned[:, ::2]
        yield f"{base}up_proj.{ending}", turned[:, 1::2]
    else:
        yield f"{stem}.{ending}", turned


def _latent(config: Config, name: str, array: Array) -> Iterator[tuple[str, Array]]:
    """Keys and values of each head apart, the keys' turned round."""
    plain, value = config["qk_nope_head_dim"], config["v_head_dim"]
    heads = array.reshape(config["num_attention_heads"], plain + value, -1)
    base = name.removesuffix("kv_b_proj.weight")
    yield f"{base}k_b", heads[:, :plain].swapaxes(1, 2)
    yield f"{base}v_b", heads[:, plain:]


def _permuted(config: Config, name: str, array: Array) -> Array:
    if config["model_type"] not in PERMUTED or not re.search(r"\.[qk]_proj\.", name):
        return array
    heads = config["num_attention_heads" if ".q_proj." in name else "num_key_value_heads"]
    split = array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:])
    return split.swapaxes(1, 2).reshape(array.shape)


def _factors(config: Config) -> Iterator[tuple[str, Array]]:
    """Divisors of the rotary frequencies, which are tensors."""
    scaling = config.get("rope_scaling") or {}
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind == "longrope":
        for length in ("long", "short"):
            yield f"rope_factors_{length}.weight", np.array(scaling[f"{length}_factor"])
    elif kind == "llama3":
        yield "rope_freqs.weight", _llama3(config, scaling)


def _llama3(config: Config, scaling: Config) -> Array:
    width = head_dim(config)
    wave = 2 * np.pi * config["rope_theta"] ** (np.arange(0, width, 2) / width)
    original, factor = scaling["original_max_position_embeddings"], scaling["factor"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    smooth = np.clip((original / wave - low) / (high - low), 0, 1)
    return 1 / ((1 - smooth) / factor + smooth)
