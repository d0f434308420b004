"""Metadata of a GGUF file for a Hugging Face configuration, by the names that llama.cpp's files have."""

import math
from collections.abc import Mapping
from typing import Any

import gguf

Config = Mapping[str, Any]

ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "mistral": gguf.MODEL_ARCH.LLAMA,
    "mixtral": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "qwen2_moe": gguf.MODEL_ARCH.QWEN2MOE,
    "qwen3_moe": gguf.MODEL_ARCH.QWEN3MOE,
    "gemma2": gguf.MODEL_ARCH.GEMMA2,
    "gemma3_text": gguf.MODEL_ARCH.GEMMA3,
    "phi3": gguf.MODEL_ARCH.PHI3,
    "smollm3": gguf.MODEL_ARCH.SMOLLM3,
    "olmo2": gguf.MODEL_ARCH.OLMO2,
    "granite": gguf.MODEL_ARCH.GRANITE,
    "glm4": gguf.MODEL_ARCH.GLM4,
    "gpt_oss": gguf.MODEL_ARCH.GPT_OSS,
    "deepseek_v2": gguf.MODEL_ARCH.DEEPSEEK2,
    "deepseek_v3": gguf.MODEL_ARCH.DEEPSEEK2,
}
"""By `model_type`."""

LATENT = frozenset({"deepseek_v2", "deepseek_v3"})


class Unsayable(Exception):
    """A setting that the format has no word for; the files of such models do not exist."""


def older(config: Config) -> dict[str, Any]:
    """The configuration with positions in the older style."""
    own = dict(config)
    rope = own.pop("rope_parameters", None)
    if rope is None:
        return own
    if "full_attention" in rope:
        own["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
    return own | {"rope_theta": rope["rope_theta"], "rope_scaling": rope}


def head_dim(config: Config) -> int:
    """Values of a head."""
    own = config.get("head_dim")
    return int(own or config["hidden_size"] // config["num_attention_heads"])


def metadata(writer: gguf.GGUFWriter, config: Config) -> None:
    """Write what the configuration says.

    Raises:
        Unsayable: for a setting that the format cannot tell.
    """
    _refuse(config)
    heads = config["num_attention_heads"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")
    if config["model_type"] in LATENT:
        _latent(writer, config)
    else:
        writer.add_head_count_kv(config["num_key_value_heads"])
        writer.add_key_length(head_dim(config))
        writer.add_value_length(head_dim(config))
        writer.add_rope_dimension_count(int(head_dim(config) * config.get("partial_rotary_factor", 1.0)))
    _window(writer, config)
    _stretched(writer, config)
    _experts(writer, config)
    _scales(writer, config)


def _refuse(config: Config) -> None:
    scaling = config.get("rope_scaling") or {}
    reasons = {
        "which layers have experts": config.get("decoder_sparse_step", 1) != 1 or config.get("mlp_only_layers"),
        "which layers rotate": config.get("no_rope_layer_interval", 4) != 4,
        "the limit of the gate": config.get("swiglu_limit", 7.0) != 7.0,
        "ramps between pairs": not scaling.get("truncate", True) and config["model_type"] != "gpt_oss",
        "ramps at whole pairs": bool(scaling) and scaling.get("truncate", True) and config["model_type"] == "gpt_oss",
        "the pairs of the rotation": config.get("rope_interleave") is False,
        "two weights of the stretch": scaling.get("mscale") != scaling.get("mscale_all_dim"),
    }
    for reason, unsayable in reasons.items():
        if unsayable:
            raise Unsayable(reason)


def _windowed(config: Config) -> list[bool]:
    """Which layers have the window."""
    count = config["num_hidden_layers"]
    if types := config.get("layer_types"):
        return [kind == "sliding_attention" for kind in types]
    match config["model_type"]:
        case "gemma2":
            return [layer % 2 == 0 for layer in range(count)]
        case "gemma3_text":
            period = config["sliding_window_pattern"]
            return [(layer + 1) % period != 0 for layer in range(count)]
        case "qwen2" | "qwen3":
            return [layer >= config["max_window_layers"] for layer in range(count)]
        case "smollm3":
            return [(layer + 1) % 4 == 0 for layer in range(count)]
    return [True] * count


def _window(writer: gguf.GGUFWriter, config: Config) -> None:
    if not config.get("sliding_window") or config.get("use_sliding_window") is False:
        return
    writer.add_sliding_window(config["sliding_window"])
    writer.add_sliding_window_pattern(_windowed(config))


def _stretched(writer: gguf.GGUFWriter, config: Config) -> None:
    scaling = config.get("rope_scaling") or {}
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling["factor"])
    elif kind == "yarn":
        _yarn(writer, config, scaling)
    elif kind == "longrope":
        original = config["original_max_position_embeddings"]
        factor = config["max_position_embeddings"] / original
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(factor) / math.log(original)))
    if config["model_type"] == "gemma3_text":
        # The key of files that have another base than the family's.
        writer.add_float32("gemma3.rope.freq_base_swa", config["rope_local_base_freq"])


def _yarn(writer: gguf.GGUFWriter, config: Config, scaling: Mapping[str, Any]) -> None:
    factor = scaling["factor"]
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(factor)
    writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
    if "beta_fast" in scaling:
        writer.add_rope_scaling_yarn_beta_fast(scaling["beta_fast"])
        writer.add_rope_scaling_yarn_beta_slow(scaling["beta_slow"])
    weight = scaling.get("mscale_all_dim", 0.0) if config["model_type"] in LATENT else 0.0
    if weight:
        writer.add_rope_scaling_yarn_log_mul(0.1 * weight)
    if "attention_factor" in scaling:
        # The file's is a factor of the usual one, which weights take back.
        usual = 1.0 if weight else 0.1 * math.log(factor) + 1
        writer.add_rope_scaling_attn_factors(scaling["attention_factor"] / usual)


def _latent(writer: gguf.GGUFWriter, config: Config) -> None:
    rank, rotated = config["kv_lora_rank"], config["qk_rope_head_dim"]
    writer.add_head_count_kv(1)
    if config["q_lora_rank"] is not None:
        writer.add_q_lora_rank(config["q_lora_rank"])
    writer.add_kv_lora_rank(rank)
    writer.add_key_length(rank + rotated)
    writer.add_value_length(rank)
    writer.add_key_length_mla(config["qk_nope_head_dim"] + rotated)
    writer.add_value_length_mla(config["v_head_dim"])
    writer.add_rope_dimension_count(rotated)
    writer.add_leading_dense_block_count(config["first_k_dense_replace"])
    writer.add_expert_shared_count(config["n_shared_experts"])
    writer.add_expert_weights_scale(config["routed_scaling_factor"])
    sigmoid = config["model_type"] == "deepseek_v3"
    kinds = gguf.ExpertGatingFuncType
    writer.add_expert_gating_func(kinds.SIGMOID if sigmoid else kinds.SOFTMAX)
    if config["n_group"] > 1:
        writer.add_expert_group_count(config["n_group"])
        writer.add_expert_group_used_count(config["topk_group"])


def _experts(writer: gguf.GGUFWriter, config: Config) -> None:
    keys = ("num_local_experts", "num_experts", "n_routed_experts")
    count = next((config[key] for key in keys if key in config), None)
    if count is None:
        return
    writer.add_expert_count(count)
    writer.add_expert_used_count(config["num_experts_per_tok"])
    if "moe_intermediate_size" in config:
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    if "shared_expert_intermediate_size" in config:
        writer.add_expert_shared_feed_forward_length(config["shared_expert_intermediate_size"])
    if "norm_topk_prob" in config:
        writer.add_expert_weights_norm(config["norm_topk_prob"])


def _scales(writer: gguf.GGUFWriter, config: Config) -> None:
    if config["model_type"] == "granite":
        writer.add_attention_scale(config["attention_multiplier"])
        writer.add_embedding_scale(config["embedding_multiplier"])
        writer.add_residual_scale(config["residual_multiplier"])
        writer.add_logit_scale(config["logits_scaling"])
    if "query_pre_attn_scalar" in config:
        writer.add_attention_scale(config["query_pre_attn_scalar"] ** -0.5)
        # 0 says that there is none where the family usually has one.
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"] or 0.0)
        writer.add_final_logit_softcapping(config["final_logit_softcapping"] or 0.0)
