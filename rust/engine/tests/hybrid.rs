//! Models with layers that keep a state in place of keys and values: what the promises mean where nothing is shared.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::{Path, PathBuf};

use common::client::{Client, load};
use common::{Lone, json, shared_fixture};
use cortex_engine::model::{Batch, KvCache, KvType, Outputs};
use cortex_engine::{FinishReason, SamplingParams, inspect};
use serde_json::{Map, Value, json};

/// Bytes of a KV block in both fixtures: keys and values of two heads of 32 for 32 tokens, in one layer.
const BLOCK_BYTES: u64 = 2 * 2 * 32 * 32 * 2;

fn models() -> Vec<PathBuf> {
    let found = ["qwen3-next", "qwen3-5"].map(|name| shared_fixture(&format!("models/{name}")));
    found.into_iter().flatten().collect()
}

/// Of very different lengths; every fourth begins like the others of its kind.
fn prompts() -> Vec<Vec<u32>> {
    let shared = (0..70).map(|i| 10 + (i * 37) % 490);
    (0..16_u32)
        .map(|n| {
            let own = (0..=n * 9).map(|i| 10 + (i * 53 + n * 101) % 490);
            let begin = shared.clone().filter(|_| n % 4 == 3);
            begin.chain(own).collect()
        })
        .collect()
}

fn greedy(tokens: usize) -> SamplingParams {
    SamplingParams {
        ignore_eos: true,
        ..SamplingParams::greedy(tokens)
    }
}

fn alone(model: &Path, tokens: usize) -> Vec<String> {
    let mut client = load(model, |options| options.max_sequences = 1);
    let prompts = prompts();
    let texts = prompts
        .iter()
        .map(|prompt| client.ask(prompt, &greedy(tokens)).text);
    texts.collect()
}

fn together(client: &mut Client, tokens: usize) -> Vec<String> {
    let prompts = prompts();
    let asked: Vec<u64> = prompts
        .iter()
        .map(|prompt| client.submit(prompt, &greedy(tokens)))
        .collect();
    asked.into_iter().map(|id| client.wait(id).text).collect()
}

#[test]
fn sixteen_mixed_arrivals_are_answered_as_each_alone() {
    for model in models() {
        let expected = alone(&model, 40);
        for step_tokens in [16, 48, 512] {
            let mut client = load(&model, |options| {
                options.max_sequences = 16;
                options.step_tokens = Some(step_tokens);
            });
            assert_eq!(together(&mut client, 40), expected, "{step_tokens} a step");
            let mut asked = Vec::new();
            for prompt in prompts() {
                let id = client.submit(&prompt, &greedy(40));
                client.wait_tokens(id, 3);
                asked.push(id);
            }
            let later: Vec<String> = asked.into_iter().map(|id| client.wait(id).text).collect();
            assert_eq!(later, expected, "one after the other");
            let stats = client.engine.stats();
            assert_eq!((stats.prefix_queries, stats.blocks_cached), (0, 0));
        }
    }
}

#[test]
fn who_gives_way_begins_again_with_an_empty_state() {
    for model in models() {
        let expected = alone(&model, 60);
        let mut tight = load(&model, |options| options.kv_bytes = Some(14 * BLOCK_BYTES));
        // On a busy machine the first may have ended before the last are there.
        for _ in 0..20 {
            assert_eq!(together(&mut tight, 60), expected);
            if tight.engine.stats().preemptions > 0 {
                break;
            }
        }
        let stats = tight.engine.stats();
        assert!(stats.preemptions > 0, "{stats:?}");
        assert_eq!((stats.running, stats.waiting, stats.blocks_used), (0, 0, 0));
    }
}

#[test]
fn several_choices_of_one_prompt_are_those_that_their_seeds_give() {
    let seeded = |seed| SamplingParams {
        temperature: 0.9,
        seed: Some(seed),
        ..greedy(30)
    };
    for model in models() {
        let prompt = &prompts()[11];
        let mut client = load(&model, |options| options.step_tokens = Some(64));
        let expected: Vec<String> = (0..6)
            .map(|seed| client.ask(prompt, &seeded(seed)).text)
            .collect();
        let asked: Vec<u64> = (0..6)
            .map(|seed| client.submit(prompt, &seeded(seed)))
            .collect();
        let found: Vec<String> = asked.into_iter().map(|id| client.wait(id).text).collect();
        assert_eq!(found, expected);
        assert_ne!(found[0], found[1]);
    }
}

#[test]
fn cancelled_sequences_leave_the_others_what_they_are() {
    for model in models() {
        let expected = alone(&model, 50);
        let mut client = load(&model, |options| options.step_tokens = Some(48));
        let prompts = prompts();
        let asked: Vec<u64> = prompts
            .iter()
            .map(|prompt| client.submit(prompt, &greedy(50)))
            .collect();
        client.wait_tokens(asked[0], 5);
        for id in asked.iter().skip(1).step_by(2) {
            client.engine.cancel(*id);
        }
        for (number, id) in asked.iter().enumerate() {
            let answer = client.wait(*id);
            if answer.ending.unwrap().reason != FinishReason::Cancelled {
                assert_eq!(answer.text, expected[number], "prompt {number}");
            }
        }
        assert!(client.engine.stats().cancelled > 0);
        assert_eq!(client.engine.stats().blocks_used, 0);
        assert_eq!(together(&mut client, 50), expected, "in their places");
    }
}

#[test]
fn a_state_goes_on_only_where_it_ended() {
    for model in models() {
        let decoder = Lone::open(&model).decoder;
        let shape = decoder.description().clone();
        let cache = KvCache::new(&shape, 4, 32, (KvType::F16, decoder.device())).unwrap();
        let go = |start: usize, block: u32| {
            let mut batch = Batch::new(32);
            batch.push(start, &[20, 21, 22], &[block], Outputs::Last);
            decoder.forward(&batch, &cache).map(Option::unwrap)
        };
        let first = go(0, 2).unwrap().to_vec2::<f32>().unwrap();
        assert!(go(3, 1).is_err(), "another sequence");
        assert!(go(4, 2).is_err(), "a gap");
        go(3, 2).unwrap();
        cache.keep([2].into_iter());
        go(6, 2).unwrap();
        cache.keep([1].into_iter());
        assert!(go(9, 2).is_err(), "it was dropped");
        let again = go(0, 2).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(again, first, "from the beginning");
    }
}

#[test]
fn the_estimate_counts_a_state_for_each_sequence_and_keys_and_values_of_attention_only() {
    for model in models() {
        let of = |sequences| inspect(&model, None, sequences, None).unwrap().estimate;
        let (one, eight) = (of(1), of(8));
        assert_eq!(one.kv_bytes_per_token, BLOCK_BYTES / 32);
        // Three layers, three rows of 128 before the convolution, four heads of 16 by 16.
        assert_eq!(one.state_bytes, 3 * 4 * (3 * 128 + 4 * 16 * 16));
        assert_eq!(eight.state_bytes, 8 * one.state_bytes);
        let more = eight.total_bytes - one.total_bytes;
        let least = 7 * one.state_bytes + 7 * one.kv_bytes;
        assert!(more > least, "{more} {least}");
    }
}

/// The text model of a folder as part of one that also sees and guesses ahead.
fn with_eyes(text: &Path, folder: &Path) {
    let mut config = json(&text.join("config.json"));
    let tied = config["tie_word_embeddings"].take();
    config
        .as_object_mut()
        .unwrap()
        .remove("tie_word_embeddings");
    let whole = json!({"model_type": "qwen3_5", "text_config": config, "tie_word_embeddings": tied,
        "vision_config": {"depth": 2}, "eos_token_id": 2});
    std::fs::write(folder.join("config.json"), whole.to_string()).unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::write(folder.join(name), std::fs::read(text.join(name)).unwrap()).unwrap();
    }
    let file = std::fs::read(text.join("model.safetensors")).unwrap();
    let (len, rest) = file.split_at(8);
    let len = u64::from_le_bytes(len.try_into().unwrap()) as usize;
    let header: Map<String, Value> = serde_json::from_slice(&rest[..len]).unwrap();
    let mut data = rest[len..].to_vec();
    let tensors = header
        .into_iter()
        .filter(|(name, _)| name != "__metadata__");
    let renamed = tensors.map(|(name, entry)| match name.strip_prefix("model.") {
        Some(bare) => (format!("model.language_model.{bare}"), entry),
        None => (name, entry),
    });
    let mut header: Map<String, Value> = renamed.collect();
    for (name, dtype) in [
        ("model.visual.blocks.0.attn.qkv.weight", "BF16"),
        ("mtp.layers.0.mlp.up_proj.weight", "F8_E4M3"),
    ] {
        let start = data.len();
        let size = if dtype == "BF16" { 2 } else { 1 };
        data.resize(start + 64 * 64 * size, 1);
        let entry = json!({"dtype": dtype, "shape": [64, 64], "data_offsets": [start, data.len()]});
        header.insert(name.to_owned(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&data);
    std::fs::write(folder.join("model.safetensors"), file).unwrap();
}

#[test]
fn a_model_that_also_sees_is_run_as_its_text() {
    let Some(text) = shared_fixture("models/qwen3-5") else {
        return;
    };
    let folder = std::env::temp_dir().join(format!("cortex-eyes-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    with_eyes(&text, &folder);
    let prompt: Vec<u32> = (0..60).map(|i| 10 + (i * 37) % 490).collect();
    let [plain, whole] = [&text, &folder].map(|path| {
        let mut client = load(path, |_| {});
        let answer = client.ask(&prompt, &greedy(20)).text;
        let facts = inspect(path, None, 1, None).unwrap();
        (answer, facts.estimate, facts.architecture)
    });
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!((plain.0, plain.1), (whole.0, whole.1));
    assert_eq!(whole.2, "qwen3_5");
}
