//! Every family through the engine: greedy answers depend on nothing but the prompt.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::client::{Client, load};
use common::{Lone, argmax, shared_fixture};
use cortex_engine::SamplingParams;
use cortex_engine::model::Outputs;

const FAMILIES: [&str; 17] = [
    "mistral",
    "qwen2-yarn",
    "gemma2",
    "gemma3",
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

/// Those of them whose layers keep states, so that prefixes are not shared.
const WITH_STATES: [&str; 2] = ["qwen3-next", "qwen3-5"];

fn prompts() -> Vec<Vec<u32>> {
    let shared: Vec<u32> = (0..70).map(|i| 10 + (i * 37) % 490).collect();
    (0..6_u32)
        .map(|n| {
            let own = (0..=n * 17).map(|i| 10 + (i * 53 + n * 101) % 490);
            let shared = shared.iter().copied().filter(|_| n % 2 == 1);
            shared.chain(own).collect()
        })
        .collect()
}

fn greedy(tokens: usize) -> SamplingParams {
    SamplingParams {
        ignore_eos: true,
        ..SamplingParams::greedy(tokens)
    }
}

fn together(client: &mut Client) -> Vec<String> {
    let asked: Vec<u64> = prompts()
        .iter()
        .map(|prompt| client.submit(prompt, &greedy(30)))
        .collect();
    asked.into_iter().map(|id| client.wait(id).text).collect()
}

#[test]
fn greedy_answers_do_not_depend_on_batch_chunks_or_prefix_hits() {
    for family in FAMILIES {
        let Some(folder) = shared_fixture(&format!("models/{family}")) else {
            continue;
        };
        let mut alone = load(&folder, |options| options.max_sequences = 1);
        let expected: Vec<String> = prompts()
            .iter()
            .map(|prompt| alone.ask(prompt, &greedy(30)).text)
            .collect();
        let mut batch = load(&folder, |options| {
            options.max_sequences = 8;
            options.step_tokens = Some(24);
        });
        assert_eq!(together(&mut batch), expected, "{family} cold");
        let before = batch.engine.stats().prefix_hits;
        assert_eq!(together(&mut batch), expected, "{family} with prefix hits");
        let hits = batch.engine.stats().prefix_hits;
        assert_eq!(hits > before, !WITH_STATES.contains(&family), "{family}");
    }
}

/// A sequence that grows beyond the original context gives what a fresh computation of all its tokens gives.
#[test]
fn a_growing_sequence_takes_the_long_factors_from_its_first_token_on() {
    let Some(folder) = shared_fixture("models/phi3-longrope") else {
        return;
    };
    let lone = Lone::open(&folder);
    let mut tokens: Vec<u32> = (0..88).map(|i| 10 + (i * 37) % 490).collect();
    let prompt = tokens.clone();
    for _ in 0..20 {
        let row = lone.logits(0, &tokens, Outputs::Last).remove(0);
        tokens.push(argmax(&row));
    }
    let mut client = load(&folder, |options| options.step_tokens = Some(40));
    let found = client.ask(&prompt, &greedy(20)).text;
    let mut text = client.engine.decode(&tokens[prompt.len()..]);
    text.retain(|letter| letter != '\u{fffd}');
    let found: String = found
        .chars()
        .filter(|&letter| letter != '\u{fffd}')
        .collect();
    assert_eq!(found, text);
}
