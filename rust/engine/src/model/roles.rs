//! What tensors are for, and what they are called in both formats.

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Embedding,
    FinalNorm,
    Head,
    AttentionNorm,
    AttentionPostNorm,
    /// Query, key and value in one tensor.
    QueryKeyValue,
    Query,
    Key,
    Value,
    QueryKeyValueBias,
    QueryBias,
    KeyBias,
    ValueBias,
    QueryNorm,
    KeyNorm,
    AttentionOutput,
    AttentionOutputBias,
    /// From the token to the latent of its queries.
    QueryDown,
    QueryDownNorm,
    QueryDownBias,
    QueryUp,
    /// From the token to the latent of its keys and values, and the shared key.
    KeyValueDown,
    KeyValueDownNorm,
    KeyValueDownBias,
    /// From the latent to keys and values; in GGUF files they are apart.
    KeyValueUp,
    KeyUp,
    ValueUp,
    FeedForwardNorm,
    FeedForwardPostNorm,
    /// Gate and up in one tensor.
    GateUp,
    Gate,
    Up,
    Down,
    GateBias,
    UpBias,
    DownBias,
    Router,
    RouterBias,
    RouterCorrection,
    ExpertGate,
    ExpertUp,
    ExpertDown,
    SharedGate,
    SharedUp,
    SharedDown,
    SharedShare,
    ExpertGateBias,
    ExpertUpBias,
    ExpertDownBias,
    ExpertsGateUp,
    ExpertsGateUpBias,
    ExpertsDown,
    ExpertsDownBias,
    Sinks,
}

/// Names in files of a family that differ from the usual ones.
pub(crate) type Names = &'static [(Role, &'static str)];

/// One row: the names in GGUF and in safetensors files, with the usual prefix. The first `{}` stands for the layer,
/// the second for the expert; GGUF files have all experts of a layer in one tensor.
const NAMES: [(Role, &str, &str); 54] = [
    (
        Role::Embedding,
        "token_embd.weight",
        "model.embed_tokens.weight",
    ),
    (Role::FinalNorm, "output_norm.weight", "model.norm.weight"),
    (Role::Head, "output.weight", "lm_head.weight"),
    (
        Role::AttentionNorm,
        "blk.{}.attn_norm.weight",
        "model.layers.{}.input_layernorm.weight",
    ),
    (
        Role::AttentionPostNorm,
        "blk.{}.post_attention_norm.weight",
        "model.layers.{}.post_attention_layernorm.weight",
    ),
    (
        Role::QueryKeyValue,
        "blk.{}.attn_qkv.weight",
        "model.layers.{}.self_attn.qkv_proj.weight",
    ),
    (
        Role::Query,
        "blk.{}.attn_q.weight",
        "model.layers.{}.self_attn.q_proj.weight",
    ),
    (
        Role::Key,
        "blk.{}.attn_k.weight",
        "model.layers.{}.self_attn.k_proj.weight",
    ),
    (
        Role::Value,
        "blk.{}.attn_v.weight",
        "model.layers.{}.self_attn.v_proj.weight",
    ),
    (
        Role::QueryKeyValueBias,
        "blk.{}.attn_qkv.bias",
        "model.layers.{}.self_attn.qkv_proj.bias",
    ),
    (
        Role::QueryBias,
        "blk.{}.attn_q.bias",
        "model.layers.{}.self_attn.q_proj.bias",
    ),
    (
        Role::KeyBias,
        "blk.{}.attn_k.bias",
        "model.layers.{}.self_attn.k_proj.bias",
    ),
    (
        Role::ValueBias,
        "blk.{}.attn_v.bias",
        "model.layers.{}.self_attn.v_proj.bias",
    ),
    (
        Role::QueryNorm,
        "blk.{}.attn_q_norm.weight",
        "model.layers.{}.self_attn.q_norm.weight",
    ),
    (
        Role::KeyNorm,
        "blk.{}.attn_k_norm.weight",
        "model.layers.{}.self_attn.k_norm.weight",
    ),
    (
        Role::AttentionOutput,
        "blk.{}.attn_output.weight",
        "model.layers.{}.self_attn.o_proj.weight",
    ),
    (
        Role::AttentionOutputBias,
        "blk.{}.attn_output.bias",
        "model.layers.{}.self_attn.o_proj.bias",
    ),
    (
        Role::QueryDown,
        "blk.{}.attn_q_a.weight",
        "model.layers.{}.self_attn.q_a_proj.weight",
    ),
    (
        Role::QueryDownNorm,
        "blk.{}.attn_q_a_norm.weight",
        "model.layers.{}.self_attn.q_a_layernorm.weight",
    ),
    (
        Role::QueryDownBias,
        "blk.{}.attn_q_a.bias",
        "model.layers.{}.self_attn.q_a_proj.bias",
    ),
    (
        Role::QueryUp,
        "blk.{}.attn_q_b.weight",
        "model.layers.{}.self_attn.q_b_proj.weight",
    ),
    (
        Role::KeyValueDown,
        "blk.{}.attn_kv_a_mqa.weight",
        "model.layers.{}.self_attn.kv_a_proj_with_mqa.weight",
    ),
    (
        Role::KeyValueDownNorm,
        "blk.{}.attn_kv_a_norm.weight",
        "model.layers.{}.self_attn.kv_a_layernorm.weight",
    ),
    (
        Role::KeyValueDownBias,
        "blk.{}.attn_kv_a_mqa.bias",
        "model.layers.{}.self_attn.kv_a_proj_with_mqa.bias",
    ),
    (
        Role::KeyValueUp,
        "blk.{}.attn_kv_b.weight",
        "model.layers.{}.self_attn.kv_b_proj.weight",
    ),
    (
        Role::KeyUp,
        "blk.{}.attn_k_b.weight",
        "model.layers.{}.self_attn.k_b_proj.weight",
    ),
    (
        Role::ValueUp,
        "blk.{}.attn_v_b.weight",
        "model.layers.{}.self_attn.v_b_proj.weight",
    ),
    (
        Role::FeedForwardNorm,
        "blk.{}.ffn_norm.weight",
        "model.layers.{}.post_attention_layernorm.weight",
    ),
    (
        Role::FeedForwardPostNorm,
        "blk.{}.post_ffw_norm.weight",
        "model.layers.{}.post_feedforward_layernorm.weight",
    ),
    (
        Role::GateUp,
        "blk.{}.ffn_up.weight",
        "model.layers.{}.mlp.gate_up_proj.weight",
    ),
    (
        Role::Gate,
        "blk.{}.ffn_gate.weight",
        "model.layers.{}.mlp.gate_proj.weight",
    ),
    (
        Role::Up,
        "blk.{}.ffn_up.weight",
        "model.layers.{}.mlp.up_proj.weight",
    ),
    (
        Role::Down,
        "blk.{}.ffn_down.weight",
        "model.layers.{}.mlp.down_proj.weight",
    ),
    (
        Role::GateBias,
        "blk.{}.ffn_gate.bias",
        "model.layers.{}.mlp.gate_proj.bias",
    ),
    (
        Role::UpBias,
        "blk.{}.ffn_up.bias",
        "model.layers.{}.mlp.up_proj.bias",
    ),
    (
        Role::DownBias,
        "blk.{}.ffn_down.bias",
        "model.layers.{}.mlp.down_proj.bias",
    ),
    (
        Role::Router,
        "blk.{}.ffn_gate_inp.weight",
        "model.layers.{}.mlp.gate.weight",
    ),
    (
        Role::RouterBias,
        "blk.{}.ffn_gate_inp.bias",
        "model.layers.{}.mlp.router.bias",
    ),
    (
        Role::RouterCorrection,
        "blk.{}.exp_probs_b.bias",
        "model.layers.{}.mlp.gate.e_score_correction_bias",
    ),
    (
        Role::ExpertGate,
        "blk.{}.ffn_gate_exps.weight",
        "model.layers.{}.mlp.experts.{}.gate_proj.weight",
    ),
    (
        Role::ExpertUp,
        "blk.{}.ffn_up_exps.weight",
        "model.layers.{}.mlp.experts.{}.up_proj.weight",
    ),
    (
        Role::ExpertDown,
        "blk.{}.ffn_down_exps.weight",
        "model.layers.{}.mlp.experts.{}.down_proj.weight",
    ),
    (
        Role::SharedGate,
        "blk.{}.ffn_gate_shexp.weight",
        "model.layers.{}.mlp.shared_expert.gate_proj.weight",
    ),
    (
        Role::SharedUp,
        "blk.{}.ffn_up_shexp.weight",
        "model.layers.{}.mlp.shared_expert.up_proj.weight",
    ),
    (
        Role::SharedDown,
        "blk.{}.ffn_down_shexp.weight",
        "model.layers.{}.mlp.shared_expert.down_proj.weight",
    ),
    (
        Role::SharedShare,
        "blk.{}.ffn_gate_inp_shexp.weight",
        "model.layers.{}.mlp.shared_expert_gate.weight",
    ),
    (
        Role::ExpertGateBias,
        "blk.{}.ffn_gate_exps.bias",
        "model.layers.{}.mlp.experts.{}.gate_proj.bias",
    ),
    (
        Role::ExpertUpBias,
        "blk.{}.ffn_up_exps.bias",
        "model.layers.{}.mlp.experts.{}.up_proj.bias",
    ),
    (
        Role::ExpertDownBias,
        "blk.{}.ffn_down_exps.bias",
        "model.layers.{}.mlp.experts.{}.down_proj.bias",
    ),
    (
        Role::ExpertsGateUp,
        "blk.{}.ffn_gate_up_exps.weight",
        "model.layers.{}.mlp.experts.gate_up_proj",
    ),
    (
        Role::ExpertsGateUpBias,
        "blk.{}.ffn_gate_up_exps.bias",
        "model.layers.{}.mlp.experts.gate_up_proj_bias",
    ),
    (
        Role::ExpertsDown,
        "blk.{}.ffn_down_exps.weight",
        "model.layers.{}.mlp.experts.down_proj",
    ),
    (
        Role::ExpertsDownBias,
        "blk.{}.ffn_down_exps.bias",
        "model.layers.{}.mlp.experts.down_proj_bias",
    ),
    (
        Role::Sinks,
        "blk.{}.attn_sinks.weight",
        "model.layers.{}.self_attn.sinks",
    ),
];

impl Role {
    /// Name in GGUF files of a family.
    pub fn in_gguf(self, own: Names) -> &'static str {
        let other = own.iter().find(|(role, _)| *role == self);
        other.map_or(NAMES[self as usize].1, |(_, name)| name)
    }

    /// Name in safetensors files of a family, with the usual prefix.
    pub fn in_safetensors(self, own: Names) -> &'static str {
        let other = own.iter().find(|(role, _)| *role == self);
        other.map_or(NAMES[self as usize].2, |(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_roles() {
        for (index, (role, _, _)) in NAMES.iter().enumerate() {
            assert_eq!(*role as usize, index);
        }
        assert_eq!(Role::Sinks as usize, NAMES.len() - 1);
    }
}
