//! Embedding models behind the engine: right vectors, alone or together, and every request with its ending.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::{Path, PathBuf};

use common::client::{Client, load};
use common::reference::{check_vectors, vectors};
use common::{json, max_difference, own_embedder, own_model, shared_fixture};
use cortex_engine::{
    EngineError, FinishReason, LoadOptions, Loader, ModelKind, SamplingParams, inspect,
};
use serde_json::{Value, json};

fn text(seed: usize, len: usize) -> Vec<u32> {
    (0..len)
        .map(|i| 20 + ((i * 37 + seed * 101) % 480) as u32)
        .collect()
}

#[test]
fn our_own_copy_gives_the_reference_vectors() {
    check_vectors(&own_embedder());
}

#[test]
fn every_kind_of_embedder_gives_the_reference_vectors() {
    for family in [
        "bert-cls",
        "bert-mean",
        "xlm-roberta",
        "modernbert",
        "qwen3-embed",
    ] {
        if let Some(folder) = shared_fixture(&format!("models/{family}")) {
            check_vectors(&folder);
        }
    }
}

/// Texts of many lengths: alone, all in one request, and as requests side by side in small passes.
fn check_batches(folder: &Path) {
    let texts: Vec<Vec<u32>> = [3, 90, 1, 33, 200, 7, 32]
        .into_iter()
        .enumerate()
        .map(|(seed, len)| text(seed, len))
        .collect();
    let mut alone = load(folder, |options| options.max_sequences = 1);
    let alone: Vec<_> = texts
        .iter()
        .flat_map(|text| vectors(&mut alone, std::slice::from_ref(text)))
        .collect();
    let mut whole = load(folder, |_| {});
    assert_eq!(vectors(&mut whole, &texts), alone);
    let mut small = load(folder, |options| options.step_tokens = Some(40));
    let requests: Vec<(u64, &[Vec<u32>])> = texts
        .chunks(2)
        .map(|some| (small.engine.embed(some.to_vec(), None).unwrap(), some))
        .collect();
    let mut apart = Vec::new();
    for (request, some) in requests {
        let found = small.wait(request).vectors.unwrap();
        assert_eq!(found.values.len(), some.len() * found.dimensions);
        apart.extend(
            found
                .values
                .chunks_exact(found.dimensions)
                .map(<[f32]>::to_vec),
        );
    }
    assert_eq!(apart, alone);
}

#[test]
fn a_vector_does_not_depend_on_what_else_is_embedded() {
    check_batches(&own_embedder());
    for family in ["modernbert", "qwen3-embed"] {
        if let Some(folder) = shared_fixture(&format!("models/{family}")) {
            check_batches(&folder);
        }
    }
}

#[test]
fn decoders_pool_every_way_the_same_whatever_the_passes() {
    let Some(folder) = shared_fixture("models/qwen3-embed") else {
        return;
    };
    for mode in [
        "pooling_mode_mean_tokens",
        "pooling_mode_cls_token",
        "pooling_mode_lasttoken",
    ] {
        let copy = Copy::of(&folder);
        copy.write("1_Pooling/config.json", &json!({mode: true}));
        check_batches(&copy.0);
    }
}

#[test]
fn counts_and_facts_are_those_of_the_texts_and_the_model() {
    let mut client = load(&own_embedder(), |_| {});
    let info = client.engine.info().clone();
    assert_eq!((info.kind, info.dimensions), (ModelKind::Embed, Some(64)));
    assert_eq!((info.context_length, info.kv_bytes), (512, 0));
    assert!(!info.has_chat_template);
    let answer = client.embed(&[text(1, 5), text(2, 300)]);
    let ending = answer.ending.unwrap();
    assert_eq!((ending.prompt_tokens, ending.completion_tokens), (305, 0));
    let stats = client.engine.stats();
    assert_eq!(
        (stats.prefill_tokens, stats.finished, stats.running),
        (305, 1, 0)
    );
    let seen = inspect(&own_embedder(), None, 16, None).unwrap();
    assert_eq!((seen.kind, seen.dimensions), (ModelKind::Embed, Some(64)));
    assert_eq!((seen.context_length, seen.estimate.kv_bytes), (512, 0));
    assert!(seen.estimate.weights_bytes >= info.weights_bytes);
}

#[test]
fn fewer_dimensions_are_the_front_of_the_vector_at_length_1() {
    let client = &mut load(&own_embedder(), |_| {});
    let texts = vec![text(1, 12), text(2, 3)];
    let whole = vectors(client, &texts);
    let request = client.engine.embed(texts.clone(), Some(10)).unwrap();
    let found = client.wait(request).vectors.unwrap();
    assert_eq!((found.dimensions, found.values.len()), (10, 20));
    for (short, whole) in found.values.chunks_exact(10).zip(&whole) {
        let length = whole[..10]
            .iter()
            .map(|value| value * value)
            .sum::<f32>()
            .sqrt();
        let expected: Vec<f32> = whole[..10].iter().map(|value| value / length).collect();
        assert!(max_difference(short, &expected) < 1e-6);
    }
    for wrong in [0, 65] {
        let refused = client.engine.embed(texts.clone(), Some(wrong)).unwrap_err();
        assert!(matches!(
            refused,
            EngineError::InvalidField {
                field: "dimensions",
                ..
            }
        ));
    }
}

#[test]
fn a_model_is_asked_for_what_it_does() {
    let embedder = load(&own_embedder(), |_| {});
    let asked = embedder.engine.submit(vec![20], SamplingParams::greedy(1));
    assert!(matches!(asked, Err(EngineError::WrongKind(_))));
    let generator = load(&own_model(), |_| {});
    let asked = generator.engine.embed(vec![vec![20]], None);
    assert!(matches!(asked, Err(EngineError::WrongKind(_))));
    assert_eq!(generator.engine.info().kind, ModelKind::Generate);
}

#[test]
fn what_cannot_be_embedded_is_refused_with_numbers() {
    let client = load(&own_embedder(), |options| {
        options.context_length = Some(100);
    });
    let embed = |texts: Vec<Vec<u32>>| client.engine.embed(texts, None).unwrap_err();
    assert!(matches!(embed(vec![]), EngineError::InvalidField { .. }));
    assert!(matches!(
        embed(vec![vec![20], vec![]]),
        EngineError::InvalidField { .. }
    ));
    assert!(embed(vec![vec![20, 512]]).to_string().contains("512"));
    let long = embed(vec![text(1, 100), text(2, 101)]);
    assert!(
        matches!(
            long,
            EngineError::InputTooLong {
                input: 1,
                tokens: 101,
                limit: 100
            }
        ),
        "{long}"
    );
}

#[test]
fn more_requests_than_the_engine_takes_are_refused() {
    let mut client = load(&own_embedder(), |options| {
        options.max_sequences = 1;
        options.max_waiting = 1;
    });
    let ask = |client: &Client| client.engine.embed(vec![text(1, 400); 20], None);
    let (first, second) = (ask(&client).unwrap(), ask(&client).unwrap());
    assert!(matches!(
        ask(&client),
        Err(EngineError::QueueFull { limit: 2, .. })
    ));
    client.wait(first);
    client.wait(second);
    assert!(ask(&client).is_ok());
}

#[test]
fn a_cancelled_request_ends_and_the_others_go_on() {
    let mut client = load(&own_embedder(), |options| options.step_tokens = Some(64));
    let long = client.engine.embed(vec![text(1, 500); 100], None).unwrap();
    let other = client.engine.embed(vec![text(2, 9)], None).unwrap();
    client.engine.cancel(long);
    client.engine.cancel(long + 1000);
    let gone = client.wait(long);
    assert_eq!(gone.ending.unwrap().reason, FinishReason::Cancelled);
    assert_eq!(gone.vectors, None);
    assert_eq!(
        client.wait(other).ending.unwrap().reason,
        FinishReason::Stop
    );
    let stats = client.engine.stats();
    assert_eq!((stats.cancelled, stats.finished, stats.running), (1, 1, 0));
}

#[test]
fn closing_ends_what_runs_and_takes_nothing_more() {
    let mut client = load(&own_embedder(), |_| {});
    let asked: Vec<u64> = (0..3)
        .map(|n| client.engine.embed(vec![text(n, 500); 200], None).unwrap())
        .collect();
    client.engine.close();
    for request in asked {
        assert_eq!(
            client.wait(request).ending.unwrap().reason,
            FinishReason::Cancelled
        );
    }
    let late = client.engine.embed(vec![vec![20]], None).unwrap_err();
    assert!(matches!(late, EngineError::EngineFailed(_)));
}

/// A folder that the test may change.
struct Copy(PathBuf);

impl Copy {
    fn of(folder: &Path) -> Self {
        static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("cortex-embedding-{}-{number}", std::process::id());
        let copy = Self(std::env::temp_dir().join(name));
        std::fs::create_dir_all(copy.0.join("1_Pooling")).unwrap();
        for file in [
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
            "modules.json",
            "1_Pooling/config.json",
        ] {
            std::fs::write(copy.0.join(file), std::fs::read(folder.join(file)).unwrap()).unwrap();
        }
        copy
    }

    fn write(&self, file: &str, value: &Value) {
        std::fs::write(self.0.join(file), value.to_string()).unwrap();
    }

    fn refusal(&self) -> EngineError {
        let loaded = Loader::new(LoadOptions::new(&self.0)).run();
        loaded.err().expect("the model loads")
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_the_files_ask_for_and_the_engine_lacks_is_refused_by_name() {
    let copy = Copy::of(&own_embedder());
    let modules = json(&copy.0.join("modules.json"));
    let mut more = modules.clone();
    more.as_array_mut()
        .unwrap()
        .push(json!({"type": "sentence_transformers.models.Dense"}));
    copy.write("modules.json", &more);
    assert!(copy.refusal().to_string().contains("Dense"));
    copy.write(
        "modules.json",
        &json!([{"type": "x.Pooling", "path": "../1_Pooling"}]),
    );
    assert!(matches!(copy.refusal(), EngineError::ModelFileInvalid(_)));
    copy.write("modules.json", &modules);
    copy.write(
        "1_Pooling/config.json",
        &json!({"pooling_mode_max_tokens": true}),
    );
    assert!(copy.refusal().to_string().contains("max"));
    let mut options = LoadOptions::new(own_embedder());
    options.chat_template = Some("{{ messages }}".to_owned());
    let refused = Loader::new(options).run().err().unwrap();
    assert!(matches!(
        refused,
        EngineError::InvalidField {
            field: "chat_template",
            ..
        }
    ));
}

#[test]
fn an_encoder_that_declares_nothing_takes_the_mean_and_a_publishers_limit_holds() {
    let copy = Copy::of(&own_embedder());
    std::fs::remove_file(copy.0.join("modules.json")).unwrap();
    copy.write(
        "sentence_bert_config.json",
        &json!({"max_seq_length": 128, "do_lower_case": false}),
    );
    let mut plain = load(&copy.0, |_| {});
    assert_eq!(plain.engine.info().context_length, 128);
    let mut declared = load(&own_embedder(), |_| {});
    let texts = [text(1, 20)];
    assert_eq!(vectors(&mut plain, &texts), vectors(&mut declared, &texts));
}
