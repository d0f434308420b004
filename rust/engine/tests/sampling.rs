//! What a request may ask of the sampler, through the whole engine: biases, stop tokens, log probabilities.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::float_cmp)]

mod common;

use common::client::{Client, load};
use common::{Lone, argmax, log_prob, own_model};
use cortex_engine::model::Outputs;
use cortex_engine::{EngineError, FinishReason, SamplingParams};

fn tiny() -> std::path::PathBuf {
    own_model().join("model-q4_1.gguf")
}

fn greedy(tokens: usize) -> SamplingParams {
    SamplingParams {
        ignore_eos: true,
        ..SamplingParams::greedy(tokens)
    }
}

fn prompt() -> Vec<u32> {
    (0..100).map(|i| 10 + (i * 37) % 490).collect()
}

#[test]
fn a_bias_of_100_makes_every_token_that_one_and_minus_100_never() {
    let mut client = load(&tiny(), |_| {});
    let forced = SamplingParams {
        logit_bias: vec![(300, 100.0)],
        logprobs: Some(0),
        ..greedy(8)
    };
    let answer = client.ask(&prompt(), &forced);
    let tokens: Vec<u32> = answer.logprobs.iter().map(|one| one.token).collect();
    assert_eq!(tokens, [300; 8]);
    let favourite = client.ask(
        &prompt(),
        &SamplingParams {
            logprobs: Some(0),
            ..greedy(1)
        },
    );
    let favourite = favourite.logprobs[0].token;
    let banned = SamplingParams {
        logit_bias: vec![(favourite, -100.0)],
        logprobs: Some(0),
        temperature: 1.0,
        seed: Some(3),
        ..greedy(200)
    };
    let answer = client.ask(&prompt(), &banned);
    assert!(answer.logprobs.iter().all(|one| one.token != favourite));
}

#[test]
fn log_probabilities_are_those_of_the_raw_logits_whatever_changes_the_choice() {
    let mut client = load(&tiny(), |_| {});
    let lone = Lone::as_served(&tiny());
    let params = SamplingParams {
        logprobs: Some(20),
        temperature: 1.7,
        seed: Some(5),
        repetition_penalty: 1.5,
        logit_bias: vec![(33, 4.0)],
        ..greedy(12)
    };
    let answer = client.ask(&prompt(), &params);
    assert_eq!(answer.logprobs.len(), 12);
    let mut tokens = prompt();
    tokens.extend(answer.logprobs.iter().map(|one| one.token));
    let logits = lone.logits(0, &tokens, Outputs::All);
    for (said, row) in answer.logprobs.iter().zip(&logits[99..]) {
        assert!((said.logprob.unwrap() - log_prob(row, said.token)).abs() < 1e-3);
        assert_eq!(said.top.len(), 20);
        assert_eq!(said.top[0].0, argmax(row));
        assert!(said.top.windows(2).all(|pair| pair[0].1 >= pair[1].1));
    }
}

#[test]
fn who_does_not_ask_gets_no_log_probabilities_and_who_does_the_same_text() {
    let mut client = load(&tiny(), |_| {});
    let plain = client.ask(&prompt(), &greedy(20));
    assert!(plain.logprobs.is_empty() && plain.prompt_logprobs.is_empty());
    let asked = SamplingParams {
        logprobs: Some(3),
        prompt_logprobs: Some(1),
        ..greedy(20)
    };
    assert_eq!(client.ask(&prompt(), &asked).text, plain.text);
}

fn check_prompt_scores(client: &mut Client, max_tokens: usize) {
    let params = SamplingParams {
        prompt_logprobs: Some(2),
        ..greedy(max_tokens)
    };
    let answer = client.ask(&prompt(), &params);
    let ending = answer.ending.unwrap();
    assert_eq!(ending.reason, FinishReason::Length);
    assert_eq!(
        (ending.completion_tokens, ending.cached_tokens),
        (max_tokens, 0)
    );
    let rows = Lone::as_served(&tiny()).logits(0, &prompt(), Outputs::All);
    let (first, others) = answer.prompt_logprobs.split_first().unwrap();
    assert_eq!((first.token, first.logprob), (prompt()[0], None));
    assert_eq!(others.len(), 99);
    for ((said, &token), row) in others.iter().zip(&prompt()[1..]).zip(&rows) {
        assert_eq!(said.token, token);
        assert!((said.logprob.unwrap() - log_prob(row, token)).abs() < 1e-3);
        assert_eq!((said.top.len(), said.top[0].0), (2, argmax(row)));
    }
}

#[test]
fn every_token_of_a_prompt_is_scored_in_chunks_and_after_a_prefix_was_cached() {
    for step_tokens in [16, 48, 512] {
        let mut client = load(&tiny(), |options| {
            options.step_tokens = Some(step_tokens);
            options.max_sequences = 4;
        });
        client.ask(&prompt(), &greedy(2));
        check_prompt_scores(&mut client, 0);
        check_prompt_scores(&mut client, 1);
    }
}

#[test]
fn scored_prompts_among_others_and_under_preemption_stay_whole() {
    let mut client = load(&tiny(), |options| {
        let block = 4 * 2 * 2 * 16 * 4 * 32;
        options.kv_bytes = Some(block * 14);
    });
    let params = SamplingParams {
        prompt_logprobs: Some(0),
        ..greedy(120)
    };
    let mut scores = Vec::new();
    // On a busy machine the first may have ended before the last are there; then nobody is in the way of another.
    for _ in 0..20 {
        let asked: Vec<u64> = (0..6).map(|_| client.submit(&prompt(), &params)).collect();
        for id in asked {
            let answer = client.wait(id);
            let scored = answer.prompt_logprobs.iter().map(|one| one.logprob);
            scores.push(scored.collect::<Vec<_>>());
        }
        if client.engine.stats().preemptions > 0 {
            break;
        }
    }
    assert!(client.engine.stats().preemptions > 0);
    assert_eq!(scores[0].len(), 100);
    assert!(scores.iter().all(|other| other == &scores[0]));
}

#[test]
fn a_stop_token_ends_the_answer_like_an_end_of_sequence() {
    let mut client = load(&tiny(), |_| {});
    let free = client.ask(
        &prompt(),
        &SamplingParams {
            logprobs: Some(0),
            ..greedy(40)
        },
    );
    let tokens: Vec<u32> = free.logprobs.iter().map(|one| one.token).collect();
    let stop = tokens[20];
    let first = tokens.iter().position(|&token| token == stop).unwrap();
    let params = SamplingParams {
        stop_token_ids: vec![stop],
        ..greedy(40)
    };
    let answer = client.ask(&prompt(), &params);
    let ending = answer.ending.unwrap();
    assert_eq!(
        (ending.reason, ending.completion_tokens),
        (FinishReason::Stop, first + 1)
    );
    let shown = client.engine.decode(&tokens[..first]);
    assert_eq!(answer.text.trim_start(), shown.trim_start());
    let held = SamplingParams {
        min_tokens: 30,
        ..params
    };
    assert!(
        client
            .ask(&prompt(), &held)
            .ending
            .unwrap()
            .completion_tokens
            >= 30
    );
}

#[test]
fn fields_out_of_range_are_refused_by_name() {
    let client = load(&tiny(), |_| {});
    let refused = |change: fn(&mut SamplingParams)| {
        let mut params = greedy(1);
        change(&mut params);
        match client.try_submit(&[5], &params) {
            Err(EngineError::InvalidField { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        refused(|params| params.logit_bias = vec![(512, 1.0)]),
        "logit_bias"
    );
    assert_eq!(
        refused(|params| params.logit_bias = vec![(1, f32::NAN)]),
        "logit_bias"
    );
    assert_eq!(
        refused(|params| params.stop_token_ids = vec![512]),
        "stop_token_ids"
    );
    assert_eq!(refused(|params| params.logprobs = Some(21)), "logprobs");
    assert_eq!(
        refused(|params| params.prompt_logprobs = Some(21)),
        "prompt_logprobs"
    );
    assert_eq!(refused(|params| params.max_tokens = 0), "max_tokens");
}
