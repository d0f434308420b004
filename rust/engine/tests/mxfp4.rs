//! Experts of gpt-oss as published, MXFP4 in two tensors, against the same numbers as floats.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::Path;

use common::{Lone, deviation, max_difference};
use cortex_engine::inspect;
use cortex_engine::model::Outputs;
use serde_json::json;

const HIDDEN: usize = 64;
const WIDTH: usize = 32;
const EXPERTS: usize = 4;
const VOCAB: usize = 96;
const VALUES: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// Tensors by name: type, shape, bytes.
type Tensors = Vec<(String, &'static str, Vec<usize>, Vec<u8>)>;

fn noise(seed: &mut u64) -> f32 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 40) as f32 / (1 << 23) as f32 - 1.0
}

fn floats(values: impl Iterator<Item = f32>) -> Vec<u8> {
    values.flat_map(f32::to_le_bytes).collect()
}

/// Codes and scales of a matrix `[experts, outputs, inputs]`, and its values.
fn quantised(seed: &mut u64, outputs: usize, inputs: usize) -> (Vec<u8>, Vec<u8>, Vec<f32>) {
    let count = EXPERTS * outputs * inputs;
    let codes: Vec<u8> = (0..count)
        .map(|_| (noise(seed).abs() * 15.9) as u8)
        .collect();
    let scales: Vec<u8> = (0..count / 32)
        .map(|block| 122 + (block % 3) as u8)
        .collect();
    let values = codes.iter().enumerate().map(|(place, code)| {
        let sign = if *code < 8 { 1.0 } else { -1.0 };
        let scale = (f32::from(scales[place / 32]) - 127.0).exp2();
        sign * VALUES[usize::from(*code) % 8] * scale
    });
    let values = values.collect();
    let (pairs, _) = codes.as_chunks::<2>();
    let bytes = pairs.iter().map(|[low, high]| low | high << 4).collect();
    (bytes, scales, values)
}

/// `[experts, outputs, inputs]` as `[experts, inputs, outputs]`.
fn transposed(values: &[f32], outputs: usize, inputs: usize) -> Vec<u8> {
    let experts = values.chunks_exact(outputs * inputs);
    floats(experts.flat_map(|expert| {
        (0..inputs)
            .flat_map(move |input| (0..outputs).map(move |output| expert[output * inputs + input]))
    }))
}

fn tensors(quantise: bool) -> Tensors {
    let mut seed = 5;
    let mut all = Tensors::new();
    let mut plain = |name: &str, shape: &[usize], around: f32, spread: f32, all: &mut Tensors| {
        let count: usize = shape.iter().product();
        let data = floats((0..count).map(|_| around + spread * noise(&mut seed)));
        all.push((name.to_owned(), "F32", shape.to_vec(), data));
    };
    plain(
        "model.embed_tokens.weight",
        &[VOCAB, HIDDEN],
        0.0,
        1.0,
        &mut all,
    );
    plain("lm_head.weight", &[VOCAB, HIDDEN], 0.0, 0.3, &mut all);
    plain("model.norm.weight", &[HIDDEN], 1.0, 0.1, &mut all);
    let layer = |name: &str| format!("model.layers.0.{name}");
    for (name, shape, around, spread) in [
        ("input_layernorm.weight", &[HIDDEN][..], 1.0, 0.1),
        ("post_attention_layernorm.weight", &[HIDDEN], 1.0, 0.1),
        ("self_attn.q_proj.weight", &[64, HIDDEN], 0.0, 0.2),
        ("self_attn.q_proj.bias", &[64], 0.0, 0.2),
        ("self_attn.k_proj.weight", &[32, HIDDEN], 0.0, 0.2),
        ("self_attn.k_proj.bias", &[32], 0.0, 0.2),
        ("self_attn.v_proj.weight", &[32, HIDDEN], 0.0, 0.2),
        ("self_attn.v_proj.bias", &[32], 0.0, 0.2),
        ("self_attn.o_proj.weight", &[HIDDEN, 64], 0.0, 0.2),
        ("self_attn.o_proj.bias", &[HIDDEN], 0.0, 0.2),
        ("self_attn.sinks", &[4], 0.0, 1.0),
        ("mlp.router.weight", &[EXPERTS, HIDDEN], 0.0, 0.5),
        ("mlp.router.bias", &[EXPERTS], 0.0, 0.2),
        (
            "mlp.experts.gate_up_proj_bias",
            &[EXPERTS, 2 * WIDTH],
            0.0,
            0.2,
        ),
        ("mlp.experts.down_proj_bias", &[EXPERTS, HIDDEN], 0.0, 0.2),
    ] {
        plain(&layer(name), shape, around, spread, &mut all);
    }
    let mut seed = 11;
    for (name, outputs, inputs) in [
        ("mlp.experts.gate_up_proj", 2 * WIDTH, HIDDEN),
        ("mlp.experts.down_proj", HIDDEN, WIDTH),
    ] {
        let (codes, scales, values) = quantised(&mut seed, outputs, inputs);
        let groups = inputs / 32;
        if quantise {
            let shape = vec![EXPERTS, outputs, groups, 16];
            all.push((layer(name) + "_blocks", "U8", shape, codes));
            let shape = vec![EXPERTS, outputs, groups];
            all.push((layer(name) + "_scales", "U8", shape, scales));
        } else {
            let data = transposed(&values, outputs, inputs);
            all.push((layer(name), "F32", vec![EXPERTS, inputs, outputs], data));
        }
    }
    all
}

fn write(folder: &Path, tensors: &Tensors) {
    let config = json!({
        "model_type": "gpt_oss", "vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": WIDTH,
        "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "max_position_embeddings": 256, "num_local_experts": EXPERTS, "num_experts_per_tok": 2,
        "sliding_window": 8, "layer_types": ["full_attention"], "rope_theta": 10000.0
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, ty, shape, bytes) in tensors {
        let start = data.len();
        data.extend_from_slice(bytes);
        let entry = json!({"dtype": ty, "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&data);
    std::fs::write(folder.join("model.safetensors"), file).unwrap();
}

#[test]
fn blocks_and_scales_are_the_same_model_as_floats() {
    let folder = std::env::temp_dir().join(format!("cortex-mxfp4-{}", std::process::id()));
    let rows = [false, true].map(|quantise| {
        let folder = folder.join(quantise.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        write(&folder, &tensors(quantise));
        let lone = Lone::open(&folder);
        let tokens: Vec<u32> = (0..20).map(|i| (i * 37) % VOCAB as u32).collect();
        let row = lone.logits(0, &tokens, Outputs::Last).remove(0);
        let found = inspect(&folder, None, 1, None).unwrap();
        assert!(found.estimate.weights_bytes >= lone.decoder.weights_bytes());
        assert!(found.estimate.weights_bytes < lone.decoder.weights_bytes() + (16 << 10));
        row
    });
    std::fs::remove_dir_all(&folder).unwrap();
    let off = max_difference(&rows[0], &rows[1]) / deviation(&rows[0]);
    assert!(off > 0.0 && off < 0.1, "{off}");
}
