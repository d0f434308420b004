//! What the engine measures of its steps and requests: every token and every request is counted once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::float_cmp)]

mod common;

use common::client::{Client, load};
use common::{own_embedder, own_model};
use cortex_engine::{FinishReason, Histogram, SamplingParams, Timings};

fn client() -> Client {
    load(&own_model().join("model-q4_1.gguf"), |options| {
        options.step_tokens = Some(64);
    })
}

fn greedy(tokens: usize) -> SamplingParams {
    SamplingParams {
        ignore_eos: true,
        ..SamplingParams::greedy(tokens)
    }
}

fn requests(timings: &Timings) -> [u64; 4] {
    [
        &timings.queue,
        &timings.prefill,
        &timings.time_to_first_token,
        &timings.decode,
    ]
    .map(Histogram::count)
}

#[test]
fn every_request_token_and_step_is_counted_once_and_sums_agree_with_the_endings() {
    let mut client = client();
    let asked: Vec<u64> = (0..6_usize)
        .map(|n| client.submit(&vec![10 + n as u32; 100 + n], &greedy(5 + n)))
        .collect();
    let endings: Vec<_> = asked
        .iter()
        .map(|&id| client.wait(id).ending.unwrap())
        .collect();
    let (timings, stats) = (client.engine.timings(), client.engine.stats());
    assert_eq!(requests(&timings), [6; 4]);
    let tokens: usize = (0..6).map(|n| 5 + n).sum();
    assert_eq!(timings.inter_token.count() as usize, tokens - 6);
    for histogram in [&timings.step, &timings.step_tokens, &timings.step_sequences] {
        assert_eq!(histogram.count(), stats.steps);
    }
    let computed = stats.prefill_tokens + stats.decode_tokens - 6;
    assert_eq!(timings.step_tokens.sum(), computed as f64);
    let close = |histogram: &Histogram, expected: f64| {
        assert!((histogram.sum() - expected).abs() < 1e-6, "{histogram:?}");
    };
    let sum = |seconds: fn(&cortex_engine::Ending) -> f64| endings.iter().map(seconds).sum::<f64>();
    close(&timings.queue, sum(|ending| ending.queue_seconds));
    close(&timings.prefill, sum(|ending| ending.prefill_seconds));
    close(&timings.decode, sum(|ending| ending.decode_seconds));
    close(&timings.inter_token, sum(|ending| ending.decode_seconds));
    let first = sum(|ending| ending.queue_seconds + ending.prefill_seconds);
    close(&timings.time_to_first_token, first);
}

#[test]
fn a_cancelled_request_counts_where_it_came_to() {
    let mut client = client();
    let id = client.submit(&[5; 40], &greedy(400));
    client.wait_tokens(id, 2);
    client.engine.cancel(id);
    let ending = client.wait(id).ending.unwrap();
    assert_eq!(ending.reason, FinishReason::Cancelled);
    client.ask(&[5], &greedy(1));
    let timings = client.engine.timings();
    assert_eq!(requests(&timings), [2; 4]);
    assert_eq!(
        timings.inter_token.count() as usize,
        ending.completion_tokens - 1
    );
}

#[test]
fn an_embedder_counts_its_texts_and_their_tokens() {
    let mut client = load(&own_embedder(), |_| {});
    client.embed(&[vec![5; 3], vec![6; 7]]);
    let timings = client.engine.timings();
    assert_eq!(requests(&timings), [1, 0, 0, 0]);
    assert_eq!(timings.step_tokens.sum(), 10.0);
    assert_eq!(timings.step_sequences.sum(), 2.0);
}
