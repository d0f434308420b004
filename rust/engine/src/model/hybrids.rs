//! The families whose layers have a state in place of attention, but for every fourth or so.

use super::description::QueryKeyNorm;
use super::family::{Experts, Family, LLAMA, QWEN_EXPERTS, Shared, Window};
use super::rope::RopeKind;

/// What they share.
const HYBRID: Family = Family {
    gguf: None,
    gguf_rope: RopeKind::HalfSplit,
    query_key_norm: QueryKeyNorm::Head,
    norm_offset: true,
    window: Window::Unknown,
    experts: None,
    recurrent: true,
    attention_gate: true,
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

/// With experts.
pub(super) const QWEN3_NEXT: Family = Family {
    config: "qwen3_next",
    experts: Some(Experts {
        shared: Shared::Gated,
        ..QWEN_EXPERTS
    }),
    ..HYBRID
};

/// Also as the text of models that see.
pub(super) const QWEN3_5: Family = Family {
    config: "qwen3_5_text",
    within: Some("qwen3_5"),
    unneeded: &["mtp.", "model.visual."],
    ..HYBRID
};
