//! Every option of a configuration is honoured or refused by name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::float_cmp)]

use serde_json::{Value, json};

use super::super::description::{Activation, Description};
use super::super::rope::RopeScaling;
use super::describe;
use crate::EngineError;

/// A small configuration of a family with some keys changed.
fn config(model_type: &str, changes: &Value) -> Value {
    let mut config = json!({
        "model_type": model_type, "vocab_size": 512, "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0
    });
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn family(model_type: &str, changes: &Value) -> Result<Description, EngineError> {
    describe(&config(model_type, changes))
}

fn with(key: &str, value: &Value) -> Result<Description, EngineError> {
    family("llama", &json!({ key: value }))
}

fn windows(model_type: &str, changes: &Value) -> Vec<usize> {
    let layers = family(model_type, changes).unwrap().layers;
    layers
        .iter()
        .map(|layer| layer.window.unwrap_or(0))
        .collect()
}

#[test]
fn both_styles_of_rope_keys_are_read() {
    let parameters =
        json!({"rope_type": "default", "rope_theta": 5e5, "partial_rotary_factor": 0.5});
    let newer = with("rope_parameters", &parameters).unwrap();
    assert_eq!((newer.ropes[0].theta, newer.ropes[0].dims), (5e5, 8));
    let older = with("rope_scaling", &json!({"type": "linear", "factor": 2.0})).unwrap();
    assert_eq!(older.ropes[0].scaling, RopeScaling::Linear(2.0));
    assert_eq!((older.ropes[0].theta, older.ropes[0].dims), (10_000.0, 16));
}

#[test]
fn ropes_may_differ_by_the_kind_of_layer() {
    let by_kind = json!({"rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}
    }, "layer_types": ["sliding_attention", "full_attention", "full_attention", "sliding_attention"]});
    let shape = family("gemma3_text", &by_kind).unwrap();
    assert_eq!(shape.ropes[0].scaling, RopeScaling::Linear(8.0));
    assert_eq!((shape.ropes[0].theta, shape.ropes[1].theta), (1e6, 1e4));
    let ropes: Vec<_> = shape.layers.iter().map(|layer| layer.rope).collect();
    assert_eq!(ropes, [Some(1), Some(0), Some(0), Some(1)]);
}

#[test]
fn yarn_derives_what_is_not_given() {
    let scaling = |changes: Value| {
        let mut scaling = json!({"type": "yarn", "original_max_position_embeddings": 128});
        for (key, value) in changes.as_object().unwrap() {
            scaling[key] = value.clone();
        }
        match &with("rope_scaling", &scaling).unwrap().ropes[0].scaling {
            RopeScaling::Yarn(yarn) => *yarn,
            other => panic!("{other:?}"),
        }
    };
    let plain = scaling(json!({}));
    assert_eq!(
        (plain.factor, plain.beta_fast, plain.beta_slow),
        (4.0, 32.0, 1.0)
    );
    assert!((plain.magnitude - 1.138_629_4).abs() < 1e-6 && plain.truncate);
    let given = scaling(json!({"factor": 2.0, "attention_factor": 1.5, "truncate": false}));
    assert_eq!(
        (given.factor, given.magnitude, given.truncate),
        (2.0, 1.5, false)
    );
    assert_eq!(
        scaling(json!({"mscale": 0.7, "mscale_all_dim": 0.7})).magnitude,
        1.0
    );
}

#[test]
fn windows_follow_the_rule_of_the_family() {
    let window = |more: Value| {
        let mut changes = json!({"sliding_window": 32});
        for (key, value) in more.as_object().unwrap() {
            changes[key] = value.clone();
        }
        changes
    };
    assert_eq!(windows("llama", &window(json!({}))), [0; 4]);
    assert_eq!(windows("mistral", &window(json!({}))), [32; 4]);
    assert_eq!(
        windows("phi3", &window(json!({"sliding_window": null}))),
        [0; 4]
    );
    let switched = json!({"use_sliding_window": true, "max_window_layers": 1});
    assert_eq!(windows("qwen2", &window(switched)), [0, 32, 32, 32]);
    let off = json!({"use_sliding_window": false, "max_window_layers": 1});
    assert_eq!(windows("qwen3", &window(off)), [0; 4]);
    assert_eq!(windows("gemma2", &window(json!({}))), [32, 0, 32, 0]);
    let pattern = json!({"sliding_window_pattern": 3});
    assert_eq!(windows("gemma3_text", &window(pattern)), [32, 32, 0, 32]);
    let without_rope = json!({"use_sliding_window": true, "no_rope_layers": [1, 0, 1, 0]});
    assert_eq!(windows("smollm3", &window(without_rope)), [0, 32, 0, 32]);
    let listed = json!({"layer_types":
        ["full_attention", "sliding_attention", "full_attention", "full_attention"]});
    assert_eq!(windows("gemma2", &window(listed)), [0, 32, 0, 0]);
}

#[test]
fn what_a_published_configuration_leaves_out_is_what_the_family_means() {
    let gemma = family("gemma2", &json!({})).unwrap();
    assert_eq!((gemma.head_dim, gemma.attention_scale), (256, 1.0 / 16.0));
    assert_eq!(
        (gemma.attention_softcap, gemma.final_softcap),
        (Some(50.0), Some(30.0))
    );
    assert!(gemma.tied_head && gemma.norm_offset == 1.0 && gemma.multipliers.embedding == 8.0);
    assert_eq!(gemma.activation, Activation::GeluTanh);
    assert_eq!(gemma.layers[0].window, Some(4096));
    let uncapped = family("gemma2", &json!({"attn_logit_softcapping": null})).unwrap();
    assert_eq!(uncapped.attention_softcap, None);
    let ropes = family("smollm3", &json!({})).unwrap();
    let rotated: Vec<_> = ropes
        .layers
        .iter()
        .map(|layer| layer.rope.is_some())
        .collect();
    assert_eq!(rotated, [true, true, true, false]);
    let glm = family("glm4", &json!({})).unwrap();
    assert_eq!((glm.head_dim, glm.ropes[0].dims), (128, 64));
    let mistral = family("mistral", &json!({})).unwrap();
    assert_eq!(mistral.layers[0].window, Some(4096));
    let stretched = |changes| {
        family("gpt_oss", &changes).unwrap().ropes[0]
            .scaling
            .clone()
    };
    let experts = json!({"num_local_experts": 4, "num_experts_per_tok": 2});
    assert!(matches!(stretched(experts.clone()), RopeScaling::Yarn(yarn) if yarn.factor == 32.0));
    let mut plain = experts;
    plain["rope_parameters"] = json!({"rope_type": "default"});
    assert_eq!(stretched(plain), RopeScaling::None);
}

#[test]
fn only_a_family_that_has_multipliers_uses_them() {
    let changes = json!({"embedding_multiplier": 6.0, "attention_multiplier": 0.25,
        "residual_multiplier": 0.5, "logits_scaling": 4.0});
    let granite = family("granite", &changes).unwrap();
    let factors = granite.multipliers;
    assert_eq!(
        (factors.embedding, factors.residual, factors.logits),
        (6.0, 0.5, 0.25)
    );
    assert_eq!(granite.attention_scale, 0.25);
    let llama = family("llama", &changes).unwrap();
    assert_eq!(
        (llama.multipliers.embedding, llama.attention_scale),
        (1.0, 0.25)
    );
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for (model_type, changes, word) in [
        ("mamba", json!({}), "mamba"),
        ("llama", json!({"hidden_act": "relu2"}), "relu2"),
        (
            "llama",
            json!({"rope_scaling": {"type": "dynamic", "factor": 4.0}}),
            "dynamic",
        ),
        ("olmo2", json!({"sliding_window": 16}), "window"),
        (
            "mistral",
            json!({"sliding_window": 16, "layer_types": ["chunked_attention", "full_attention", "full_attention", "full_attention"]}),
            "chunked",
        ),
    ] {
        let error = family(model_type, &changes).unwrap_err();
        assert!(matches!(error, EngineError::UnsupportedModel(_)), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn contradictions_are_errors_of_the_file() {
    for (key, value) in [
        ("num_attention_heads", json!(0)),
        ("num_key_value_heads", json!(3)),
        ("num_hidden_layers", json!(-4)),
        ("num_hidden_layers", json!(1_u64 << 40)),
        ("vocab_size", json!("many")),
        ("rms_norm_eps", json!(0.0)),
        ("head_dim", json!(1_u64 << 40)),
        ("partial_rotary_factor", json!(1.5)),
        ("rope_scaling", json!({"rope_type": 3})),
        (
            "rope_scaling",
            json!({"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}),
        ),
    ] {
        let error = with(key, &value).unwrap_err();
        assert!(
            matches!(error, EngineError::ModelFileInvalid(_)),
            "{key}: {error}"
        );
    }
    let listed = json!({"sliding_window": 8, "layer_types": ["full_attention"]});
    let error = family("mistral", &listed).unwrap_err().to_string();
    assert!(error.contains("1 entries for 4 layers"), "{error}");
}

#[test]
fn hybrids_have_states_where_the_types_or_the_interval_say() {
    let states = |model_type, changes: &Value| -> Vec<bool> {
        let layers = family(model_type, changes).unwrap().layers;
        layers.iter().map(|layer| layer.recurrent).collect()
    };
    let usual = json!({"moe_intermediate_size": 8, "head_dim": null});
    assert_eq!(states("qwen3_next", &usual), [true, true, true, false]);
    let every_second = json!({"full_attention_interval": 2});
    assert_eq!(
        states("qwen3_5_text", &every_second),
        [true, false, true, false]
    );
    let listed = json!({"layer_types":
        ["full_attention", "linear_attention", "full_attention", "full_attention"]});
    assert_eq!(states("qwen3_5_text", &listed), [false, true, false, false]);
    let shape = family("qwen3_next", &json!({"linear_num_key_heads": 8})).unwrap();
    let recurrent = shape.recurrent.unwrap();
    assert_eq!((recurrent.delta.key_heads, recurrent.kernel), (8, 4));
    assert_eq!(recurrent.delta.value_heads, 32);
    assert_eq!(shape.ropes[0].dims, 64);
    assert!(shape.attention_gate && shape.norm_offset == 1.0);
    let open = family("qwen3_5_text", &json!({"attn_output_gate": false})).unwrap();
    assert!(!open.attention_gate);
    assert_eq!(open.fused_width(), (4 + 2 * 2) * 256);
}

#[test]
fn hybrids_that_cannot_be_are_refused() {
    for (changes, word) in [
        (json!({"full_attention_interval": 0}), "interval"),
        (json!({"full_attention_interval": 5}), "without attention"),
        (json!({"linear_num_key_heads": 3}), "do not divide"),
        (json!({"linear_conv_kernel_dim": 0}), "convolution"),
        (json!({"linear_key_head_dim": 1_u64 << 40}), "a state of"),
        (
            json!({"layer_types": ["linear_attention", "sliding_attention", "full_attention", "full_attention"]}),
            "sliding_attention",
        ),
    ] {
        let error = family("qwen3_5_text", &changes).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn the_text_of_a_model_that_also_sees_is_found_under_its_key() {
    let text = config("qwen3_5_text", &json!({"rope_theta": 5e6}));
    let whole = json!({"model_type": "qwen3_5", "text_config": text, "tie_word_embeddings": true});
    let shape = describe(&whole).unwrap();
    assert_eq!((shape.architecture.as_str(), shape.hidden), ("qwen3_5", 64));
    assert!(shape.tied_head && shape.ropes[0].theta == 5e6);
    let none = describe(&json!({"model_type": "qwen3_5"})).unwrap_err();
    assert!(none.to_string().contains("text_config"), "{none}");
}
