//! `DeepSeek`'s families: latent attention and many small experts.

use super::description::Score;
use super::family::{Experts, Family, LLAMA, MIXTRAL_EXPERTS, Shared, Window};
use super::roles::Role;
use super::rope::RopeKind;

const EXPERTS: Experts = Experts {
    count: "n_routed_experts",
    width: "moe_intermediate_size",
    normalised: false,
    ranked: 1,
    shared: Shared::Counted,
    ..MIXTRAL_EXPERTS
};

/// `DeepSeek`'s second version, whose GGUF files have the name of all later ones.
pub(super) const V2: Family = Family {
    gguf: Some("deepseek2"),
    config: "deepseek_v2",
    config_rope: RopeKind::Interleaved,
    window: Window::Unknown,
    experts: Some(EXPERTS),
    latent: true,
    names: &[
        (
            Role::SharedGate,
            "model.layers.{}.mlp.shared_experts.gate_proj.weight",
        ),
        (
            Role::SharedUp,
            "model.layers.{}.mlp.shared_experts.up_proj.weight",
        ),
        (
            Role::SharedDown,
            "model.layers.{}.mlp.shared_experts.down_proj.weight",
        ),
    ],
    ..LLAMA
};

/// Its third version.
pub(super) const V3: Family = Family {
    gguf: None,
    config: "deepseek_v3",
    experts: Some(Experts {
        score: Score::Sigmoid,
        normalised: true,
        ranked: 2,
        ..EXPERTS
    }),
    defaults: &[
        ("n_group", 8.0),
        ("topk_group", 4.0),
        ("routed_scaling_factor", 2.5),
    ],
    ..V2
};
