//! A model against the outputs of the reference.

use std::path::Path;

use cortex_engine::FinishReason;
use cortex_engine::model::Outputs;
use serde_json::Value;

use super::client::{Client, load};
use super::{Lone, argmax, deviation, floats, ids, json, log_prob, max_difference, rms_difference};

/// Absolute, on logits and log-probabilities of the float32 path.
pub const EXACT: f32 = 1e-3;
/// Absolute, on each component; a tanh GELU in place of the exact one makes 5e-5.
const EXACT_VECTORS: f32 = 1e-5;
/// For 8-bit activations, in standard deviations of the logits.
const QUANTISED_WORST: f32 = 0.25;
const QUANTISED_RMS: f32 = 0.08;

/// How close a model must come.
#[derive(Clone, Copy)]
pub enum Tolerance {
    Exact,
    Quantised,
}

/// Compare layers, logits and continuations of a model with those of its reference.
pub fn check(model: &Path, expected: &Path, tolerance: Tolerance) {
    let expected = json(expected);
    let lone = Lone::open(model);
    if let Tolerance::Exact = tolerance {
        check_layers(&lone, &expected);
    }
    for prompt in expected["prompts"].as_array().unwrap() {
        check_prompt(&lone, prompt, tolerance);
        check_greedy(&lone, prompt, tolerance);
    }
}

/// The first wrong layer, if there is one.
fn check_layers(lone: &Lone, expected: &Value) {
    let Some(layers) = expected["layers"]["last_token"].as_array() else {
        return;
    };
    let prompt = expected["prompts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|prompt| prompt["length"] == 7);
    let trace = lone.trace(&ids(&prompt.unwrap()["input_ids"]));
    assert_eq!(trace.len(), layers.len());
    for (layer, (ours, theirs)) in trace.iter().zip(layers).enumerate() {
        let off = max_difference(ours, &floats(theirs));
        assert!(off < EXACT, "hidden state {layer} is off by {off}");
    }
}

fn check_prompt(lone: &Lone, prompt: &Value, tolerance: Tolerance) {
    let tokens = ids(&prompt["input_ids"]);
    let rows = lone.logits(0, &tokens, Outputs::All);
    let last = floats(&prompt["last_logits"]);
    let ours = rows.last().unwrap();
    let unit = deviation(&last);
    let (worst, rms) = (max_difference(ours, &last), rms_difference(ours, &last));
    let threshold = match tolerance {
        Tolerance::Exact => {
            assert!(
                worst < EXACT,
                "{} tokens: logits off by {worst}",
                tokens.len()
            );
            2.0 * EXACT
        }
        Tolerance::Quantised => {
            let (worst, rms) = (worst / unit, rms / unit);
            assert!(
                worst < QUANTISED_WORST,
                "{} tokens: worst logit off by {worst} units",
                tokens.len()
            );
            assert!(
                rms < QUANTISED_RMS,
                "{} tokens: logits off by {rms} units rms",
                tokens.len()
            );
            QUANTISED_WORST * unit
        }
    };
    let (best, margins) = (ids(&prompt["argmax"]), floats(&prompt["argmax_margin"]));
    let log_probs = floats(&prompt["argmax_logprob"]);
    for (position, row) in rows.iter().enumerate() {
        if margins[position] > threshold {
            assert_eq!(
                argmax(row),
                best[position],
                "position {position} of {}",
                tokens.len()
            );
        }
        if let Tolerance::Exact = tolerance {
            let off = (log_prob(row, best[position]) - log_probs[position]).abs();
            assert!(
                off < EXACT,
                "position {position}: log-probability off by {off}"
            );
        }
    }
}

/// 32 greedy tokens through the cache, up to the first step that may go either way.
fn check_greedy(lone: &Lone, prompt: &Value, tolerance: Tolerance) {
    let tokens = ids(&prompt["input_ids"]);
    let greedy = ids(&prompt["greedy"]["ids"]);
    let margins = floats(&prompt["greedy"]["margin"]);
    let threshold = match tolerance {
        Tolerance::Exact => 2e-3 * 0.999,
        Tolerance::Quantised => QUANTISED_WORST * deviation(&floats(&prompt["last_logits"])),
    };
    let mut row = lone.logits(0, &tokens, Outputs::Last).remove(0);
    for (step, (&id, &margin)) in greedy.iter().zip(&margins).enumerate() {
        if margin < threshold {
            return;
        }
        assert_eq!(
            argmax(&row),
            id,
            "greedy step {step} after {} tokens",
            tokens.len()
        );
        row = lone
            .logits(tokens.len() + step, &[id], Outputs::Last)
            .remove(0);
    }
}

/// The vectors of texts, each by itself.
pub fn vectors(client: &mut Client, texts: &[Vec<u32>]) -> Vec<Vec<f32>> {
    let answer = client.embed(texts);
    assert_eq!(answer.ending.unwrap().reason, FinishReason::Stop);
    let found = answer.vectors.unwrap();
    assert_eq!(found.values.len(), texts.len() * found.dimensions);
    found
        .values
        .chunks_exact(found.dimensions)
        .map(<[f32]>::to_vec)
        .collect()
}

/// Compare the vectors of an embedding model with those of its reference.
pub fn check_vectors(folder: &Path) {
    let expected = json(&folder.join("expected.json"));
    let inputs = expected["inputs"].as_array().unwrap();
    let texts: Vec<Vec<u32>> = inputs
        .iter()
        .map(|input| ids(&input["input_ids"]))
        .collect();
    let mut client = load(folder, |_| {});
    for (input, ours) in inputs.iter().zip(vectors(&mut client, &texts)) {
        let off = max_difference(&ours, &floats(&input["embedding"]));
        assert!(
            off < EXACT_VECTORS,
            "{}: {} is off by {off}",
            folder.display(),
            input["length"]
        );
    }
}
