//! The families whose layers have a state in place of attention, but for every fourth or so.

use super::description::QueryKeyNorm;
use super::family::{Experts, Family, LLAMA, QWEN_EXPERTS, Shared, Window};
use super::roles::Role;
use super::rope::RopeKind;

/// What they share.
const HYBRID: Family = Family {
    gguf_rope: RopeKind::HalfSplit,
    query_key_norm: QueryKeyNorm::Head,
    norm_offset: true,
    window: Window::Unknown,
    experts: None,
    recurrent: true,
    attention_gate: true,
    gguf_names: &[(Role::FeedForwardNorm, "blk.{}.post_attention_norm.weight")],
    // A head that guesses further tokens.
    unneeded: &["mtp."],
    defaults: &[
        ("head_dim", 256.0),
        ("partial_rotary_factor", 0.25),
        ("full_attention_interval", 4.0),
        ("linear_conv_kernel_dim", 4.0),
        ("linear_key_head_dim", 128.0),
        ("linear_value_head_dim", 128.0),
        ("linear_num_key_heads", 16.0),
        ("linear_num_value_heads", 32.0),
    ],
    ..LLAMA
};

const EXPERTS: Experts = Experts {
    shared: Shared::Gated,
    ..QWEN_EXPERTS
};

/// With experts.
pub(super) const QWEN3_NEXT: Family = Family {
    gguf: Some("qwen3next"),
    config: "qwen3_next",
    experts: Some(EXPERTS),
    ..HYBRID
};

/// Also as the text of models that see.
pub(super) const QWEN3_5: Family = Family {
    gguf: Some("qwen35"),
    config: "qwen3_5_text",
    gguf_tiled: true,
    within: Some("qwen3_5"),
    unneeded: &["mtp.", "model.visual."],
    ..HYBRID
};

/// The same with experts.
pub(super) const QWEN3_5_MOE: Family = Family {
    gguf: Some("qwen35moe"),
    config: "qwen3_5_moe_text",
    within: Some("qwen3_5_moe"),
    experts: Some(EXPERTS),
    ..QWEN3_5
};
