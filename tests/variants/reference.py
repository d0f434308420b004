"""One variant: the reference with drawn settings and weights, its files and its outputs.

The oracle of the fixtures does the work; it is imported from their folder.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from oracle import checkpoint, evaluate, families, initialise, reference, tiny_tokenizer
from oracle.evaluate import Unusable
from oracle.spec import ModelSpec

from tests.variants.draws import HEADS, draw

SEEDS = 60
"""Weights that are tried before a variant is given up: some make every answer alike, or end in a tie."""

SMALL = (0.12, 0.08, 0.05)
"""Deviations of the rows of an embedding that is the head too; larger ones repeat the input."""


def write(family: str, number: int, out: Path) -> str:
    """Write the variant's folder; says which it is and the seed of its weights."""
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    config = _config(family, number)
    folder = out / f"{family.replace('_', '-')}-{number}"
    tokenizer = tiny_tokenizer.train()
    reasons: list[str] = []
    for seed in range(1000 * number + 7, 1000 * number + 7 + SEEDS):
        spec = ModelSpec(
            name=folder.name,
            family=family,
            seed=seed,
            config=config,
            head=HEADS[family][number % len(HEADS[family])] if family in HEADS else "causal",
            embed_std=SMALL[seed // 3 % 3] if config.get("tie_word_embeddings") else 0.2,
            gain=(1.6, 1.0, 1.3)[seed % 3],
        )
        try:
            _attempt(spec, folder, tokenizer)
        except Unusable as reason:
            reasons.append(str(reason))
        else:
            return f"{folder.name}: seed {seed}"
    raise Unusable(f"{folder.name}: {reasons[-3:]}")


def _config(family: str, number: int) -> dict[str, Any]:
    own = draw(family, number)
    if family == "deepseek_v2":
        named = {"architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2"}
        return dict(families.deepseek_v3(**own | named))
    return dict(getattr(families, family.removesuffix("_embed"))(**own))


def _attempt(spec: ModelSpec, folder: Path, tokenizer: Any) -> None:
    model = reference.build(spec, spec.config)
    initialise.initialise(
        model, model_type=spec.config["model_type"], seed=spec.seed, gain=spec.gain, embed_std=spec.embed_std
    )
    inputs = evaluate.prompts(spec)
    evaluate.require_lively(spec, model, inputs)
    if not spec.is_embedding:
        evaluate.require_clear(evaluate.causal(model, inputs))
    shutil.rmtree(folder, ignore_errors=True)
    checkpoint.write(spec, model, folder, tokenizer, "float32")
    loaded = reference.load(spec, folder)
    value = {"format": 1, "model": spec.name, "seed": spec.seed} | _outputs(spec, loaded, inputs)
    checkpoint.write_expected(folder / "expected.json", value)


def _outputs(spec: ModelSpec, model: Any, inputs: list[list[int]]) -> dict[str, Any]:
    if spec.is_embedding:
        results, key, sequences = evaluate.embeddings(spec, model, inputs), "inputs", inputs
    else:
        results, key = evaluate.causal(model, inputs), "prompts"
        sequences = [result["input_ids"] + result["greedy"]["ids"] for result in results]
    noise = evaluate.noise(spec, model, sequences)
    evaluate.require_calm(noise)
    return {"noise": noise, "layers": evaluate.layer_taps(model, inputs[1]), key: results}
