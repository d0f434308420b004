//! Tiny random models against the outputs of the reference.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::reference::{EXACT, Tolerance, check};
use common::{Lone, json, own_hybrid, own_model, shared_fixture};
use cortex_engine::model::Outputs;

fn check_shared(family: &str, model: &str, expected: &str, tolerance: Tolerance) {
    if let Some(folder) = shared_fixture(&format!("models/{family}")) {
        eprintln!("{family} {model}");
        check(&folder.join(model), &folder.join(expected), tolerance);
    }
}

/// Causal families of the shared folder, from safetensors.
const FAMILIES: [&str; 23] = [
    "llama",
    "llama-rope3",
    "llama-wide",
    "mistral",
    "qwen2",
    "qwen2-yarn",
    "qwen3",
    "gemma2",
    "gemma3",
    "gemma3-pattern6",
    "phi3",
    "phi3-longrope",
    "smollm3",
    "olmo2",
    "granite",
    "glm4",
    "mixtral",
    "qwen2-moe",
    "qwen3-moe",
    "gpt-oss",
    "deepseek-v3",
    "qwen3-next",
    "qwen3-5",
];

#[test]
fn our_own_copy_gives_the_reference_outputs() {
    let folder = own_model();
    check(
        &folder.join("model.safetensors"),
        &folder.join("expected.json"),
        Tolerance::Exact,
    );
    check(
        &folder.join("model-q4_1.gguf"),
        &folder.join("expected-q4_1.json"),
        Tolerance::Quantised,
    );
}

/// Their value heads are by key head in one, across key heads in the other; one has a layer that guesses ahead.
#[test]
fn our_own_hybrids_in_gguf_give_the_reference_outputs() {
    for family in ["qwen35", "qwen3next"] {
        let (model, expected) = own_hybrid(family);
        check(&model, &expected, Tolerance::Exact);
    }
}

#[test]
fn safetensors_models_are_exact() {
    for family in FAMILIES {
        check_shared(
            family,
            "model.safetensors",
            "expected.json",
            Tolerance::Exact,
        );
    }
}

#[test]
fn bf16_safetensors_with_f32_compute_are_exact() {
    for family in ["qwen3", "llama-rope3", "gemma3"] {
        check_shared(
            family,
            "bf16/model.safetensors",
            "bf16/expected.json",
            Tolerance::Exact,
        );
    }
}

#[test]
fn float_gguf_files_are_exact() {
    for family in ["llama", "llama-rope3", "qwen2", "qwen3", "gemma3-pattern6"] {
        check_shared(family, "model-f32.gguf", "expected.json", Tolerance::Exact);
    }
    for (family, ty) in [("qwen2", "bf16"), ("llama", "f16"), ("llama", "bf16")] {
        check_twin(family, ty, Tolerance::Exact);
    }
}

fn check_twin(family: &str, ty: &str, tolerance: Tolerance) {
    let (model, expected) = (format!("model-{ty}.gguf"), format!("expected-{ty}.json"));
    check_shared(family, &model, &expected, tolerance);
}

#[test]
fn quantised_gguf_files_stay_within_the_noise_of_8_bit_activations() {
    let twins: [(&str, &[&str]); 6] = [
        (
            "llama",
            &["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "mxfp4", "mixed"],
        ),
        ("llama-rope3", &["q8_0"]),
        ("qwen3", &["q4_0", "q5_1", "q8_0"]),
        ("qwen2", &["q4_0", "q4_1", "q5_0", "q5_1", "q8_0"]),
        ("gemma3-pattern6", &["q4_0", "q5_0", "q8_0"]),
        (
            "llama-wide",
            &[
                "iq4_nl", "iq4_xs", "q2_k", "q3_k_m", "q4_k_m", "q5_k_m", "q6_k",
            ],
        ),
    ];
    for (family, types) in twins {
        for ty in types {
            check_twin(family, ty, Tolerance::Quantised);
        }
    }
}

/// Each typical mistake moves an output of the longest prompt further than the tolerance lets through.
#[test]
fn the_tolerance_would_catch_typical_mistakes() {
    for family in FAMILIES {
        let Some(path) = shared_fixture(&format!("models/{family}/expected.json")) else {
            continue;
        };
        let expected = json(&path);
        let mistakes = expected["discriminates"].as_array().unwrap();
        assert!(!mistakes.is_empty(), "{family}");
        for mistake in mistakes {
            let moved = mistake["max_abs_any"].as_f64().unwrap() as f32;
            assert!(moved > 2.0 * EXACT, "{family}: {}", mistake["mutation"]);
        }
        let noise = expected["noise"]["float64"].as_f64().unwrap() as f32;
        assert!(noise < EXACT / 2.0, "{family}: rounding moves {noise}");
    }
}

/// The same bits alone, in chunks, and beside another sequence.
#[test]
fn results_do_not_depend_on_chunks_or_company() {
    for family in FAMILIES {
        let Some(folder) = shared_fixture(&format!("models/{family}")) else {
            continue;
        };
        let lone = Lone::open(&folder.join("model.safetensors"));
        let tokens: Vec<u32> = (0..130).map(|i| 20 + (i * 37) % 480).collect();
        let whole = lone.logits(0, &tokens, Outputs::Last);
        for chunk in [1, 50, 77] {
            let chunked = lone.chunked(&tokens, chunk);
            assert_eq!(chunked, whole, "{family} in chunks of {chunk}");
        }
        let beside = lone.beside(&tokens, &tokens[40..90]);
        assert_eq!(beside, whole, "{family} beside another");
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let folder = own_model();
    for model in ["model.safetensors", "model-q4_1.gguf"] {
        let tokens: Vec<u32> = (3..100).collect();
        let one = Lone::with_threads(&folder.join(model), 1).logits(0, &tokens, Outputs::All);
        let three = Lone::with_threads(&folder.join(model), 3).logits(0, &tokens, Outputs::All);
        assert_eq!(one, three);
    }
}
