//! Real models: SmolLM2-135M-Instruct against the references, and what it and Gemma 3 270M say through the engine.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::Path;

use common::client::load;
use common::{Lone, gemma3, ids, json, log_prob, shared_fixture, smollm2};
use cortex_engine::SamplingParams;
use cortex_engine::model::Outputs;

/// Largest difference of top-10 log-probabilities between 8-bit activations and float32.
const QUANTISED: f32 = 0.5;

fn check(path: &Path, reference: &Path, tolerance: f32) {
    let lone = Lone::open(path);
    for result in json(reference)["results"].as_array().unwrap() {
        let name = result["name"].as_str().unwrap();
        let row = lone
            .logits(0, &ids(&result["token_ids"]), Outputs::Last)
            .remove(0);
        let mut order: Vec<u32> = (0..row.len() as u32).collect();
        order.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]));
        let top = result["top10"].as_array().unwrap();
        let found = top
            .iter()
            .filter(|entry| order[..10].contains(&(entry["id"].as_u64().unwrap() as u32)));
        assert!(found.count() >= 8, "{name}: other top-10 tokens");
        for entry in top {
            let id = entry["id"].as_u64().unwrap() as u32;
            let off = (log_prob(&row, id) - entry["logprob"].as_f64().unwrap() as f32).abs();
            assert!(
                off < tolerance,
                "{name}: log-probability of {id} off by {off}"
            );
        }
    }
}

#[test]
fn log_probabilities_are_near_the_exact_answer() {
    let reference = shared_fixture("real/smollm2_dequant_f32_transformers.json");
    if let (Some(path), Some(reference)) = (smollm2(), reference) {
        check(&path, &reference, QUANTISED);
    }
}

#[test]
fn log_probabilities_of_gemma_are_near_the_exact_answer() {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/real");
    if let Some(path) = gemma3() {
        check(&path, &reference.join("gemma3_270m_q4_k_m.json"), QUANTISED);
    }
}

#[test]
fn prompts_tokenise_as_in_the_reference() {
    let (Some(path), Some(reference)) =
        (smollm2(), shared_fixture("real/smollm2_q4_1_llamacpp.json"))
    else {
        return;
    };
    let client = load(&path, |options| options.context_length = Some(512));
    for result in json(&reference)["results"].as_array().unwrap() {
        let tokens = client
            .engine
            .encode_text(result["prompt"].as_str().unwrap(), false, true, None)
            .unwrap();
        assert_eq!(tokens, ids(&result["token_ids"]), "{}", result["name"]);
    }
}

#[test]
fn the_capital_of_france_is_paris() {
    let Some(path) = smollm2() else {
        return;
    };
    let mut client = load(&path, |_| {});
    let ask = |content: &str| {
        let messages = serde_json::json!([
            {"role": "system", "content": "Answer with one word."},
            {"role": "user", "content": content}
        ]);
        client
            .engine
            .encode_chat(&messages.to_string(), None, None, true, None)
            .unwrap()
    };
    let prompt = ask("What is the capital of France? Answer in one word.");
    let answer = client.ask(&prompt, &SamplingParams::greedy(32));
    assert!(answer.text.contains("Paris"), "{}", answer.text);
    let ending = answer.ending.unwrap();
    assert_eq!(ending.reason, cortex_engine::FinishReason::Stop);
    assert_eq!(ending.prompt_tokens, prompt.len());
    assert_eq!(ending.completion_tokens, answer.tokens as usize);
}

#[test]
fn gemma_continues_what_it_knows_also_beyond_its_window() {
    let Some(path) = gemma3() else {
        return;
    };
    let mut client = load(&path, |options| options.context_length = Some(2048));
    let filler = "The sea was calm and the ship sailed on. ".repeat(80);
    for (before, question, answer) in [
        ("", "The opposite of hot is", "cold"),
        ("", "Paris is the capital of", "France"),
        ("", "Monday, Tuesday, Wednesday, Thursday,", "Friday"),
        (filler.as_str(), "1, 2, 3, 4, 5, 6,", "7"),
    ] {
        let text = format!("{before}{question}");
        let prompt = client.engine.encode_text(&text, true, false, None).unwrap();
        let found = client.ask(&prompt, &SamplingParams::greedy(8)).text;
        assert!(found.contains(answer), "{question} {found}");
    }
}

#[test]
fn greedy_answers_of_a_real_model_do_not_depend_on_the_batch() {
    let Some(path) = smollm2() else {
        return;
    };
    let mut client = load(&path, |options| options.step_tokens = Some(48));
    let prompts: Vec<Vec<u32>> = [
        "The sea",
        "def fibonacci(n):",
        "Once upon a time there was a king who",
        "1 2 3 4",
    ]
    .iter()
    .map(|text| {
        client
            .engine
            .encode_text(&text.repeat(8), true, false, None)
            .unwrap()
    })
    .collect();
    let params = SamplingParams {
        ignore_eos: true,
        ..SamplingParams::greedy(24)
    };
    let alone: Vec<String> = prompts
        .iter()
        .map(|prompt| client.ask(prompt, &params).text)
        .collect();
    let asked: Vec<u64> = prompts
        .iter()
        .map(|prompt| client.submit(prompt, &params))
        .collect();
    let together: Vec<String> = asked.into_iter().map(|id| client.wait(id).text).collect();
    assert_eq!(together, alone);
}
