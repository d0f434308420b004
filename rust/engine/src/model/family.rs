//! The families that the decoder runs; a further one is a further row, and what is not here is refused by name.

use cortex_weights::ModelFile;

use super::deepseek;
use super::description::{Activation, Norms, QueryKeyNorm, Score};
use super::hybrids;
use super::roles::{Names, Role};
use super::rope::{RopeKind, YarnScaling};
use crate::EngineError;

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an independent fact of a family"
)]
/// What a family's name implies beyond the numbers in its header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Family {
    /// `general.architecture` of GGUF files.
    pub gguf: Option<&'static str>,
    /// `model_type` of `config.json`.
    pub config: &'static str,
    /// How GGUF files of the family rotate: `llama` files have permuted query and key rows, the others have not.
    pub gguf_rope: RopeKind,
    /// How its safetensors files rotate.
    pub config_rope: RopeKind,
    /// Query, key and value biases are always there; otherwise the configuration tells.
    pub bias: bool,
    /// Norms of queries and keys.
    pub query_key_norm: QueryKeyNorm,
    /// Where the norms of a layer are.
    pub norms: Norms,
    /// Safetensors files hold the weights of norms less one.
    pub norm_offset: bool,
    /// Which layers have an attention window.
    pub window: Window,
    /// Of the feed-forward gate if the header does not say.
    pub activation: Activation,
    /// The embedding is multiplied by the square root of its width.
    pub scaled_embedding: bool,
    /// Layers with a window rotate by a base of their own, unscaled.
    pub local_rope: bool,
    /// What its experts are, if the header counts some.
    pub experts: Option<Experts>,
    /// The configuration has factors of embedding, attention, residual stream and logits.
    pub multipliers: bool,
    /// Of so many layers the last does not rotate.
    pub no_rope_interval: Option<usize>,
    /// GGUF models with so many layers scale attention by `hidden / heads` instead of the size of a head.
    pub gguf_wide_scale: Option<usize>,
    /// How positions are stretched if `config.json` says nothing of it.
    pub usual_stretch: Option<YarnScaling>,
    /// What the published `config.json` and GGUF files leave out.
    pub defaults: &'static [(&'static str, f64)],
    /// The head is the embedding if `config.json` does not say.
    pub tied_head: bool,
    /// Names of its safetensors tensors that differ from the usual ones.
    pub names: Names,
    /// The same for GGUF.
    pub gguf_names: Names,
    /// Heads have scores without a value.
    pub sinks: bool,
    /// Heads share a latent in place of keys and values.
    pub latent: bool,
    /// GGUF files have the first value head of every key head, then the second of each, and so on.
    pub gguf_tiled: bool,
    /// Some layers have a state in place of attention.
    pub recurrent: bool,
    /// What a head gives is multiplied by a sigmoid of the token.
    pub attention_gate: bool,
    /// `model_type` of models that also see, whose `text_config` is a model of this family.
    pub within: Option<&'static str>,
    /// Beginnings of the names of tensors that the text does not need.
    pub unneeded: &'static [&'static str],
    /// Ramps of `YaRN` begin and end at whole pairs if the header does not say.
    pub whole_ramps: bool,
}

/// What a family's experts are beyond the numbers in its header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Experts {
    /// The key of `config.json` that counts them.
    pub count: &'static str,
    /// The key of their width.
    pub width: &'static str,
    /// What scores of the router become if the header does not say.
    pub score: Score,
    /// Shares of the chosen are divided by their sum if the header does not say.
    pub normalised: bool,
    /// Groups of experts rank by the sum of so many of their best scores.
    pub ranked: usize,
    /// How its safetensors files have them.
    pub stored: Stored,
    /// One for every token.
    pub shared: Shared,
}

/// How a safetensors file has the matrices of experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Each as a tensor.
    Each,
    /// All in one, gate and up in turns.
    InTurns,
}

/// What the expert for every token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shared {
    /// There is none.
    None,
    /// One of its own width with a gate.
    Gated,
    /// As wide as so many experts, counted by the header.
    Counted,
}

/// Which layers have the window of `sliding_window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Window {
    /// None in `config.json`, whose key the reference ignores; all in GGUF, where the family shares its name.
    Ignored,
    /// All.
    Always,
    /// Those from `max_window_layers` on if `use_sliding_window` says so.
    Switched,
    /// All if `use_sliding_window` says so.
    SwitchedAll,
    /// None; a file that switches it on is refused.
    SwitchedUnknown,
    /// All but the last of so many.
    AllButLastOf(usize),
    /// Those that do not rotate if `use_sliding_window` says so.
    WithoutRope,
    /// None; a file that asks for one is refused.
    Unknown,
}

/// Of Mixtral, whose GGUF files call themselves llama.
pub(super) const MIXTRAL_EXPERTS: Experts = Experts {
    count: "num_local_experts",
    width: "intermediate_size",
    score: Score::Softmax,
    normalised: true,
    ranked: 2,
    stored: Stored::Each,
    shared: Shared::None,
};

pub(super) const QWEN_EXPERTS: Experts = Experts {
    count: "num_experts",
    width: "moe_intermediate_size",
    ..MIXTRAL_EXPERTS
};

/// Llama, and what most families share with it.
pub(super) const LLAMA: Family = Family {
    gguf: Some("llama"),
    config: "llama",
    gguf_rope: RopeKind::Interleaved,
    config_rope: RopeKind::HalfSplit,
    bias: false,
    query_key_norm: QueryKeyNorm::None,
    norms: Norms::Before,
    norm_offset: false,
    window: Window::Ignored,
    activation: Activation::Silu,
    scaled_embedding: false,
    local_rope: false,
    experts: Some(MIXTRAL_EXPERTS),
    multipliers: false,
    no_rope_interval: None,
    gguf_wide_scale: None,
    usual_stretch: None,
    defaults: &[],
    tied_head: false,
    names: &[],
    gguf_names: &[],
    sinks: false,
    latent: false,
    gguf_tiled: false,
    recurrent: false,
    attention_gate: false,
    within: None,
    unneeded: &[],
    whole_ramps: true,
};

const GEMMA: Family = Family {
    gguf_rope: RopeKind::HalfSplit,
    norms: Norms::Around,
    norm_offset: true,
    activation: Activation::GeluTanh,
    scaled_embedding: true,
    tied_head: true,
    names: &[(
        Role::FeedForwardNorm,
        "model.layers.{}.pre_feedforward_layernorm.weight",
    )],
    ..LLAMA
};

static FAMILIES: [Family; 20] = [
    LLAMA,
    Family {
        // GGUF files of the family call themselves llama.
        gguf: None,
        config: "mistral",
        window: Window::Always,
        defaults: &[("sliding_window", 4096.0)],
        ..LLAMA
    },
    Family {
        gguf: Some("qwen2"),
        config: "qwen2",
        gguf_rope: RopeKind::HalfSplit,
        bias: true,
        window: Window::Switched,
        ..LLAMA
    },
    Family {
        gguf: Some("qwen3"),
        config: "qwen3",
        gguf_rope: RopeKind::HalfSplit,
        query_key_norm: QueryKeyNorm::Head,
        window: Window::Switched,
        defaults: &[("head_dim", 128.0)],
        ..LLAMA
    },
    Family {
        gguf: Some("gemma2"),
        config: "gemma2",
        window: Window::AllButLastOf(2),
        gguf_wide_scale: Some(46),
        defaults: &[
            ("head_dim", 256.0),
            ("query_pre_attn_scalar", 256.0),
            ("sliding_window", 4096.0),
            ("attn_logit_softcapping", 50.0),
            ("final_logit_softcapping", 30.0),
        ],
        ..GEMMA
    },
    Family {
        gguf: Some("gemma3"),
        config: "gemma3_text",
        query_key_norm: QueryKeyNorm::Head,
        window: Window::AllButLastOf(6),
        local_rope: true,
        gguf_wide_scale: Some(62),
        defaults: &[
            ("head_dim", 256.0),
            ("query_pre_attn_scalar", 256.0),
            ("sliding_window", 4096.0),
            ("rope_theta", 1_000_000.0),
            ("rope_local_base_freq", 10_000.0),
        ],
        ..GEMMA
    },
    Family {
        gguf: Some("phi3"),
        config: "phi3",
        gguf_rope: RopeKind::HalfSplit,
        window: Window::Always,
        defaults: &[("rms_norm_eps", 1e-5)],
        ..LLAMA
    },
    Family {
        gguf: Some("smollm3"),
        config: "smollm3",
        window: Window::WithoutRope,
        no_rope_interval: Some(4),
        tied_head: true,
        defaults: &[("rope_theta", 2_000_000.0)],
        ..LLAMA
    },
    Family {
        gguf: Some("olmo2"),
        config: "olmo2",
        gguf_rope: RopeKind::HalfSplit,
        query_key_norm: QueryKeyNorm::Row,
        norms: Norms::After,
        window: Window::Unknown,
        defaults: &[("rms_norm_eps", 1e-5)],
        ..LLAMA
    },
    Family {
        gguf: Some("granite"),
        config: "granite",
        window: Window::Unknown,
        multipliers: true,
        defaults: &[("attention_multiplier", 1.0)],
        ..LLAMA
    },
    Family {
        gguf: Some("glm4"),
        config: "glm4",
        config_rope: RopeKind::Interleaved,
        norms: Norms::Around,
        window: Window::Unknown,
        defaults: &[
            ("head_dim", 128.0),
            ("partial_rotary_factor", 0.5),
            ("rms_norm_eps", 1.5625e-7),
        ],
        names: &[
            (
                Role::AttentionPostNorm,
                "model.layers.{}.post_self_attn_layernorm.weight",
            ),
            (
                Role::FeedForwardPostNorm,
                "model.layers.{}.post_mlp_layernorm.weight",
            ),
        ],
        ..LLAMA
    },
    Family {
        gguf: None,
        config: "mixtral",
        window: Window::Always,
        defaults: &[("rope_theta", 1_000_000.0), ("rms_norm_eps", 1e-5)],
        names: &[
            (Role::Router, "model.layers.{}.block_sparse_moe.gate.weight"),
            (
                Role::ExpertGate,
                "model.layers.{}.block_sparse_moe.experts.{}.w1.weight",
            ),
            (
                Role::ExpertUp,
                "model.layers.{}.block_sparse_moe.experts.{}.w3.weight",
            ),
            (
                Role::ExpertDown,
                "model.layers.{}.block_sparse_moe.experts.{}.w2.weight",
            ),
        ],
        ..LLAMA
    },
    Family {
        gguf: Some("qwen2moe"),
        config: "qwen2_moe",
        gguf_rope: RopeKind::HalfSplit,
        bias: true,
        window: Window::SwitchedUnknown,
        experts: Some(Experts {
            normalised: false,
            shared: Shared::Gated,
            ..QWEN_EXPERTS
        }),
        ..LLAMA
    },
    Family {
        gguf: Some("qwen3moe"),
        config: "qwen3_moe",
        gguf_rope: RopeKind::HalfSplit,
        query_key_norm: QueryKeyNorm::Head,
        window: Window::SwitchedAll,
        experts: Some(QWEN_EXPERTS),
        ..LLAMA
    },
    Family {
        gguf: Some("gpt-oss"),
        config: "gpt_oss",
        gguf_rope: RopeKind::HalfSplit,
        bias: true,
        window: Window::AllButLastOf(2),
        activation: Activation::Clamped {
            alpha: 1.702,
            limit: 7.0,
        },
        experts: Some(Experts {
            score: Score::SoftmaxOfChosen,
            stored: Stored::InTurns,
            ..MIXTRAL_EXPERTS
        }),
        sinks: true,
        whole_ramps: false,
        defaults: &[
            ("head_dim", 64.0),
            ("sliding_window", 128.0),
            ("rope_theta", 150_000.0),
            ("rms_norm_eps", 1e-5),
        ],
        usual_stretch: Some(YarnScaling {
            factor: 32.0,
            original_context: 4096.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            truncate: false,
            // 0.1 * ln(32) + 1.
            magnitude: 1.346_573_6,
        }),
        names: &[(Role::Router, "model.layers.{}.mlp.router.weight")],
        gguf_names: &[(Role::FeedForwardNorm, "blk.{}.post_attention_norm.weight")],
        ..LLAMA
    },
    deepseek::V2,
    deepseek::V3,
    hybrids::QWEN3_NEXT,
    hybrids::QWEN3_5,
    hybrids::QWEN3_5_MOE,
];

/// Names of the families as users know them.
#[must_use]
pub fn architectures() -> Vec<&'static str> {
    let names = |family: &Family| [Some(family.config), family.within];
    FAMILIES.iter().flat_map(names).flatten().collect()
}

/// The family of a GGUF architecture.
pub(crate) fn of_gguf(architecture: &str) -> Result<&'static Family, EngineError> {
    find(architecture, |family| [family.gguf, None])
}

/// The family of a `model_type`.
pub(crate) fn of_config(model_type: &str) -> Result<&'static Family, EngineError> {
    find(model_type, |family| [Some(family.config), family.within])
}

/// The family of a model file.
pub(super) fn of_file(file: &ModelFile) -> Result<&'static Family, EngineError> {
    match file {
        ModelFile::Gguf(gguf) => of_gguf(gguf.architecture()?),
        ModelFile::Safetensors(model) => of_config(model.model_type()?),
    }
}

/// Whether anything depends on a tensor of a file.
pub(crate) fn needed(file: &ModelFile) -> impl Fn(&str) -> bool {
    let family = of_file(file).ok();
    move |tensor| family.is_none_or(|family| family.needs(tensor))
}

fn find(
    name: &str,
    keys: fn(&Family) -> [Option<&'static str>; 2],
) -> Result<&'static Family, EngineError> {
    let mut families = FAMILIES.iter();
    let found = families.find(|family| keys(family).contains(&Some(name)));
    found.ok_or_else(|| {
        let known: Vec<_> = FAMILIES.iter().flat_map(keys).flatten().collect();
        let known = known.join(", ");
        EngineError::UnsupportedModel(format!(
            "architecture {name:?} is not supported; supported: {known}"
        ))
    })
}

impl Family {
    /// What `config.json` means when it leaves a key out.
    pub fn default(&self, key: &str) -> Option<f64> {
        let found = self.defaults.iter().find(|(name, _)| *name == key);
        found.map(|(_, value)| *value)
    }

    /// Whether the text depends on a tensor.
    pub fn needs(&self, tensor: &str) -> bool {
        let mut unneeded = self.unneeded.iter();
        !unneeded.any(|begin| tensor.starts_with(begin))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn an_unknown_architecture_is_refused_with_the_list() {
        let text = of_gguf("rwkv7").unwrap_err().to_string();
        assert!(text.contains("rwkv7") && text.contains("llama"), "{text}");
        assert_eq!(of_config("llama").unwrap().gguf, Some("llama"));
    }
}
