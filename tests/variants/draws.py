"""Draws settings of model families: sizes, and per family what its configurations may say.

A draw follows from its seed alone. Nothing here knows the fixtures' values.
"""

import random
from collections.abc import Callable
from typing import Any

Settings = dict[str, Any]

LENGTH = 512
"""Positions of every model; prompts have up to 150 tokens and 32 follow."""


def sizes(rng: random.Random, *, head_dim: bool = False, layers: tuple[int, ...] = (3, 4, 5)) -> Settings:
    """Width, layers, heads and how many share keys."""
    heads, kv_heads = rng.choice([(4, 4), (4, 1), (6, 2), (6, 3), (8, 2), (3, 1)])
    own = rng.choice([16, 24, 32, 40])
    width = rng.choice([48, 72, 96]) if head_dim else heads * own
    return {
        "hidden_size": width,
        "intermediate_size": rng.choice([64, 88, 120]),
        "num_hidden_layers": rng.choice(layers),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "rms_norm_eps": rng.choice([1e-5, 1e-6, 3e-6]),
        "rope_theta": rng.choice([5000.0, 10000.0, 500000.0]),
    } | ({"head_dim": own} if head_dim else {})


def stretched(rng: random.Random, kinds: tuple[str, ...] = ("none", "linear", "llama3", "yarn")) -> Settings:
    """How positions are stretched, in either spelling."""
    kind = rng.choice(kinds)
    name = rng.choice(["type", "rope_type"])
    original = rng.choice([64, 96, 128])
    match kind:
        case "none":
            return {"rope_scaling": None}
        case "linear":
            return {"rope_scaling": {name: kind, "factor": rng.choice([2.0, 3.5, 8.0])}}
        case "llama3":
            low, high = rng.choice([(1.0, 4.0), (0.5, 2.0)])
            own = {"factor": 6.0, "low_freq_factor": low, "high_freq_factor": high}
            return {"rope_scaling": {"rope_type": kind, "original_max_position_embeddings": original} | own}
    yarn = {"factor": rng.choice([2.0, 4.0, 5.5]), "original_max_position_embeddings": original}
    extra = rng.choice([{}, {"beta_fast": 16.0, "beta_slow": 2.0}, {"attention_factor": 1.3}, {"truncate": False}])
    return {"rope_scaling": {name: "yarn"} | yarn | extra}


def _flag(rng: random.Random) -> bool:
    return rng.random() < 0.5


def llama(rng: random.Random) -> Settings:
    flags = {"attention_bias": _flag(rng), "mlp_bias": _flag(rng), "tie_word_embeddings": _flag(rng)}
    return sizes(rng, head_dim=_flag(rng)) | stretched(rng) | flags


def mistral(rng: random.Random) -> Settings:
    window = rng.choice([None, 17, 33, 64])
    return sizes(rng, head_dim=True) | {"sliding_window": window, "tie_word_embeddings": _flag(rng)}


def qwen2(rng: random.Random) -> Settings:
    own = sizes(rng)
    window = {"use_sliding_window": True, "sliding_window": rng.choice([17, 40])}
    window |= {"max_window_layers": rng.choice([1, own["num_hidden_layers"] - 1])}
    return own | stretched(rng, ("none", "yarn")) | rng.choice([{}, window]) | {"tie_word_embeddings": _flag(rng)}


def qwen3(rng: random.Random) -> Settings:
    own = sizes(rng, head_dim=True)
    window = {"use_sliding_window": True, "sliding_window": rng.choice([17, 40]), "max_window_layers": 2}
    flags = {"attention_bias": _flag(rng), "tie_word_embeddings": _flag(rng)}
    return own | stretched(rng, ("none", "yarn")) | rng.choice([{}, window]) | flags


def gemma2(rng: random.Random) -> Settings:
    return sizes(rng, head_dim=True) | {
        "query_pre_attn_scalar": rng.choice([16, 30, 56]),
        "attn_logit_softcapping": rng.choice([None, 2.0, 50.0]),
        "final_logit_softcapping": rng.choice([None, 4.0, 30.0]),
        "sliding_window": rng.choice([9, 24, 65]),
        "rms_norm_eps": 1e-6,
    }


def gemma3(rng: random.Random) -> Settings:
    local = {"rope_local_base_freq": rng.choice([500.0, 10000.0]), "sliding_window_pattern": rng.choice([2, 4, 6])}
    return (
        sizes(rng, head_dim=True, layers=(4, 5, 7))
        | stretched(rng, ("none", "linear"))
        | local
        | {
            "query_pre_attn_scalar": rng.choice([16, 30, 56]),
            "final_logit_softcapping": rng.choice([None, 5.0]),
            "sliding_window": rng.choice([9, 24, 65]),
            "rope_theta": rng.choice([50000.0, 1000000.0]),
        }
    )


def phi3(rng: random.Random) -> Settings:
    own = sizes(rng)
    share = rng.choice([1.0, 0.5, 0.75])
    turned = int(own["hidden_size"] // own["num_attention_heads"] * share)
    window = rng.choice([None, 21, 70])
    shared = {"partial_rotary_factor": share, "sliding_window": window, "tie_word_embeddings": _flag(rng)}
    if _flag(rng):
        return own | shared | {"rope_scaling": None}
    factors = {
        "long_factor": [round(1 + rng.random() * 6, 3) for _ in range(turned // 2)],
        "short_factor": [round(1 + rng.random(), 3) for _ in range(turned // 2)],
    }
    # Continuations of 32 tokens must not cross the length.
    original = {"original_max_position_embeddings": rng.choice([100, 128])}
    return own | shared | original | {"rope_scaling": {"type": "longrope"} | factors}


def smollm3(rng: random.Random) -> Settings:
    interval = rng.choice([2, 3])
    window = rng.choice([{}, {"use_sliding_window": True, "sliding_window": 19}])
    flags = {"attention_bias": _flag(rng), "mlp_bias": _flag(rng), "tie_word_embeddings": _flag(rng)}
    return sizes(rng) | flags | window | {"no_rope_layer_interval": interval, "no_rope_layers": ...}


def olmo2(rng: random.Random) -> Settings:
    flags = {"attention_bias": _flag(rng), "tie_word_embeddings": _flag(rng)}
    return sizes(rng) | stretched(rng, ("none", "yarn", "linear")) | flags


def granite(rng: random.Random) -> Settings:
    own = {
        "embedding_multiplier": rng.choice([1.0, 3.0, 12.0]),
        "attention_multiplier": rng.choice([0.05, 0.3]),
        "residual_multiplier": rng.choice([0.22, 1.0]),
        "logits_scaling": rng.choice([0.5, 2.0]),
        "tie_word_embeddings": _flag(rng),
        "attention_bias": _flag(rng),
        "mlp_bias": _flag(rng),
    }
    return sizes(rng) | stretched(rng, ("none", "linear", "yarn")) | own


def glm4(rng: random.Random) -> Settings:
    own = {"partial_rotary_factor": rng.choice([0.25, 0.5, 1.0]), "attention_bias": _flag(rng)}
    return sizes(rng, head_dim=True) | own | {"tie_word_embeddings": _flag(rng)}


def _experts(rng: random.Random) -> Settings:
    return {"num_experts_per_tok": rng.choice([1, 2, 4]), "moe_intermediate_size": rng.choice([24, 40])}


def mixtral(rng: random.Random) -> Settings:
    own = {"num_local_experts": rng.choice([5, 8]), "num_experts_per_tok": rng.choice([1, 3])}
    return sizes(rng, head_dim=_flag(rng)) | own | {"sliding_window": rng.choice([None, 23])}


def qwen2_moe(rng: random.Random) -> Settings:
    layout = rng.choice([{}, {"decoder_sparse_step": 2}, {"mlp_only_layers": [1]}])
    own = {"num_experts": rng.choice([6, 10]), "shared_expert_intermediate_size": rng.choice([24, 72])}
    return sizes(rng) | _experts(rng) | layout | own | {"norm_topk_prob": _flag(rng)}


def qwen3_moe(rng: random.Random) -> Settings:
    layout = rng.choice([{}, {"decoder_sparse_step": 2}, {"mlp_only_layers": [0, 2]}])
    own = {"num_experts": rng.choice([6, 10]), "norm_topk_prob": _flag(rng), "attention_bias": _flag(rng)}
    window = rng.choice([{}, {"use_sliding_window": True, "sliding_window": 29}])
    return sizes(rng, head_dim=True) | _experts(rng) | layout | own | window | stretched(rng, ("none", "yarn"))


def gpt_oss(rng: random.Random) -> Settings:
    own = sizes(rng, head_dim=True, layers=(4,))
    kinds = [["full_attention", "sliding_attention"] * 2, ["sliding_attention"] * 3 + ["full_attention"]]
    experts = {"num_local_experts": rng.choice([5, 8]), "num_experts_per_tok": rng.choice([1, 3])}
    limit = {"swiglu_limit": rng.choice([1.0, 7.0]), "sliding_window": rng.choice([11, 50])}
    return own | experts | limit | stretched(rng, ("none", "yarn")) | {"layer_types": rng.choice(kinds)}


def _latent(rng: random.Random) -> Settings:
    heads = rng.choice([2, 4, 6])
    own = sizes(rng) | {"num_attention_heads": heads, "num_key_value_heads": heads, "hidden_size": heads * 16}
    own |= {"q_lora_rank": rng.choice([None, 20, 40]), "kv_lora_rank": rng.choice([16, 36, 64])}
    own |= {"qk_nope_head_dim": rng.choice([12, 24]), "qk_rope_head_dim": rng.choice([8, 16])}
    own |= {"v_head_dim": rng.choice([10, 24, 32]), "attention_bias": _flag(rng), "rms_norm_eps": 1e-6}
    own |= _experts(rng) | {"n_shared_experts": rng.choice([1, 2]), "first_k_dense_replace": rng.choice([0, 2])}
    weights = rng.choice([{}, {"mscale": 0.7, "mscale_all_dim": 0.7}, {"mscale": 1.0, "mscale_all_dim": 0.6}])
    rope = stretched(rng, ("none", "yarn"))
    if rope["rope_scaling"]:
        rope["rope_scaling"] |= weights
    return own | rope | {"routed_scaling_factor": rng.choice([1.0, 2.5]), "n_routed_experts": 12}


def deepseek_v3(rng: random.Random) -> Settings:
    groups = rng.choice([{"n_group": 1, "topk_group": 1}, {"n_group": 3, "topk_group": 2}])
    return _latent(rng) | groups | {"norm_topk_prob": _flag(rng), "rope_interleave": _flag(rng)}


def deepseek_v2(rng: random.Random) -> Settings:
    limited = {"topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2}
    greedy = {"topk_method": "greedy", "n_group": 1, "topk_group": 1}
    drop = {"scoring_func": "softmax", "norm_topk_prob": False, "mlp_bias": False}
    return _latent(rng) | rng.choice([limited, greedy]) | drop


def _delta(rng: random.Random) -> Settings:
    keys = rng.choice([1, 2, 3])
    own = {"linear_num_key_heads": keys, "linear_num_value_heads": keys * rng.choice([1, 2])}
    own |= {"linear_key_head_dim": rng.choice([12, 24]), "linear_value_head_dim": rng.choice([16, 20])}
    return sizes(rng, head_dim=True) | own | {"linear_conv_kernel_dim": rng.choice([3, 4])}


def qwen3_next(rng: random.Random) -> Settings:
    own = _delta(rng) | _experts(rng) | {"num_experts": rng.choice([6, 10]), "norm_topk_prob": _flag(rng)}
    own |= {"partial_rotary_factor": rng.choice([0.25, 0.5]), "full_attention_interval": rng.choice([2, 3])}
    return own | {"shared_expert_intermediate_size": rng.choice([24, 72])}


def qwen3_5(rng: random.Random) -> Settings:
    own = _delta(rng)
    period = rng.choice([2, 3])
    kinds = ["full_attention" if layer % period == 1 else "linear_attention" for layer in range(9)]
    share = rng.choice([0.25, 0.5])
    rope = {"rope_type": "default", "rope_theta": own["rope_theta"], "partial_rotary_factor": share}
    layers = {"layer_types": kinds[: own["num_hidden_layers"]], "tie_word_embeddings": _flag(rng)}
    return own | layers | {"rope_theta": ..., "rope_parameters": rope}


def _encoder(rng: random.Random) -> Settings:
    heads = rng.choice([2, 3, 6])
    own = {"num_attention_heads": heads, "hidden_size": heads * rng.choice([16, 20, 32])}
    return own | {"num_hidden_layers": rng.choice([2, 3, 5]), "intermediate_size": rng.choice([64, 120])}


def bert(rng: random.Random) -> Settings:
    return _encoder(rng) | {"layer_norm_eps": rng.choice([1e-12, 1e-6])}


def xlm_roberta(rng: random.Random) -> Settings:
    return _encoder(rng) | {"layer_norm_eps": rng.choice([1e-5, 1e-6])}


def modernbert(rng: random.Random) -> Settings:
    own = {"global_attn_every_n_layers": rng.choice([2, 3]), "local_attention": rng.choice([12, 40])}
    return _encoder(rng) | own | {"global_rope_theta": rng.choice([10000.0, 80000.0])}


def qwen3_embed(rng: random.Random) -> Settings:
    return qwen3(rng) | {"tie_word_embeddings": True}


HEADS = {
    "bert": ("mean", "cls"),
    "xlm_roberta": ("cls", "mean"),
    "modernbert": ("mean", "cls"),
    "qwen3_embed": ("last",),
}
"""How the embedding models of a family pool; others give logits."""

DRAWS: dict[str, Callable[[random.Random], Settings]] = {
    draw.__name__: draw
    for draw in (
        llama,
        mistral,
        qwen2,
        qwen3,
        gemma2,
        gemma3,
        phi3,
        smollm3,
        olmo2,
        granite,
        glm4,
        mixtral,
        qwen2_moe,
        qwen3_moe,
        gpt_oss,
        deepseek_v2,
        deepseek_v3,
        qwen3_next,
        qwen3_5,
        bert,
        xlm_roberta,
        modernbert,
        qwen3_embed,
    )
}
"""Of each family, by the name of its function in the fixtures' generator."""


def draw(family: str, number: int) -> Settings:
    """Settings of the family's variant of this number; every third tells positions in the newer style."""
    own = DRAWS[family](random.Random(f"{family} {number}"))
    return newer(own) if number % 3 == 2 and "rope_theta" in own else own


def newer(own: Settings) -> Settings:
    """The same with `rope_parameters`, one for each kind of layer where they differ."""
    if own["rope_theta"] is ... or "partial_rotary_factor" in own:
        return own
    scaling = own.get("rope_scaling") or {"rope_type": "default"}
    rope = {"rope_type" if key == "type" else key: value for key, value in scaling.items()}
    rope["rope_theta"] = own["rope_theta"]
    gone = {"rope_theta": ..., "rope_scaling": ...}
    if "rope_local_base_freq" not in own:
        return own | gone | {"rope_parameters": rope}
    period = own["sliding_window_pattern"]
    layers = range(1, own["num_hidden_layers"] + 1)
    kinds = ["full_attention" if layer % period == 0 else "sliding_attention" for layer in layers]
    local = {"rope_type": "default", "rope_theta": own["rope_local_base_freq"]}
    gone |= {"rope_local_base_freq": ..., "sliding_window_pattern": ...}
    both = {"full_attention": rope, "sliding_attention": local}
    return own | gone | {"layer_types": kinds, "rope_parameters": both}
