//! Safetensors that are quantised while they are loaded: near the originals, smaller, and never twice.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::client::{Client, load};
use common::own_model;
use cortex_engine::{EngineError, LoadOptions, Loader, SamplingParams, inspect};

fn with_quant(quant: Option<&str>) -> Client {
    load(&own_model(), |options| {
        options.quant = quant.map(str::to_owned);
    })
}

/// Log probabilities of a prompt's tokens.
fn scores(client: &mut Client) -> Vec<f32> {
    let prompt: Vec<u32> = (0..40).map(|i| 10 + (i * 37) % 490).collect();
    let params = SamplingParams {
        prompt_logprobs: Some(0),
        ..SamplingParams::greedy(1)
    };
    let answer = client.ask(&prompt, &params);
    let found = answer.prompt_logprobs.iter();
    found.filter_map(|token| token.logprob).collect()
}

#[test]
fn quantised_weights_say_almost_the_same_in_less_memory() {
    let (mut plain, mut eight) = (with_quant(None), with_quant(Some("Q8_0")));
    let (expected, found) = (scores(&mut plain), scores(&mut eight));
    assert_eq!(expected.len(), 39);
    let differences = expected.iter().zip(&found).map(|(a, b)| (a - b).abs());
    let most = differences.fold(0.0, f32::max);
    assert!(most < 0.25 && most > 0.0, "{most}");
    let (plain, eight) = (plain.engine.info(), eight.engine.info());
    assert_eq!(eight.quantisation, "Q8_0");
    assert!(eight.weights_bytes * 3 < plain.weights_bytes);
    let estimate = inspect(&own_model(), None, 1, Some("q8_0")).unwrap();
    assert_eq!(estimate.quantisation, "Q8_0");
    assert!(estimate.estimate.weights_bytes < plain.weights_bytes / 2);
    assert!(estimate.estimate.weights_bytes >= eight.weights_bytes);
}

#[test]
fn what_is_quantised_already_and_what_nobody_knows_is_refused() {
    for (path, quant) in [
        (own_model(), "q3_k"),
        (own_model().join("model-q4_1.gguf"), "q8_0"),
    ] {
        let mut options = LoadOptions::new(&path);
        options.quant = Some(quant.to_owned());
        let refused = Loader::new(options).run().err().unwrap();
        assert!(
            matches!(refused, EngineError::InvalidField { .. }),
            "{refused}"
        );
        assert!(inspect(&path, None, 1, Some(quant)).is_err());
    }
}
