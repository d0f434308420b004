//! The engine as its caller sees it: batches, cancel, endings, counts, refusals, unload.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::float_cmp)]

mod common;

use common::client::{Answer, Client, load};
use common::own_model;
use cortex_engine::{EngineError, FinishReason, LoadOptions, Loader, SamplingParams};

fn tiny() -> std::path::PathBuf {
    own_model().join("model-q4_1.gguf")
}

/// Prompts of very different lengths, two with a common prefix of several blocks.
fn prompts() -> Vec<Vec<u32>> {
    let shared: Vec<u32> = (0..100).map(|i| 10 + (i * 37) % 490).collect();
    (0..16_u32)
        .map(|n| {
            let own = (0..=n * 9).map(|i| 10 + (i * 53 + n * 101) % 490);
            if n % 4 == 3 {
                shared.iter().copied().chain(own).collect()
            } else {
                own.collect()
            }
        })
        .collect()
}

fn greedy(tokens: usize) -> SamplingParams {
    SamplingParams {
        ignore_eos: true,
        ..SamplingParams::greedy(tokens)
    }
}

fn texts(client: &mut Client, params: &SamplingParams) -> Vec<String> {
    let asked: Vec<u64> = prompts()
        .iter()
        .map(|prompt| client.submit(prompt, params))
        .collect();
    asked.into_iter().map(|id| client.wait(id).text).collect()
}

fn check_invariance(params: &SamplingParams) {
    let mut alone = load(&tiny(), |options| options.max_sequences = 1);
    let expected: Vec<String> = prompts()
        .iter()
        .map(|prompt| alone.ask(prompt, params).text)
        .collect();
    assert!(expected.iter().all(|text| !text.is_empty()));
    for step_tokens in [16, 48, 512] {
        let mut batch = load(&tiny(), |options| {
            options.max_sequences = 16;
            options.step_tokens = Some(step_tokens);
        });
        assert_eq!(
            texts(&mut batch, params),
            expected,
            "cold, {step_tokens} tokens a step"
        );
        let before = batch.engine.stats().prefix_hits;
        assert_eq!(texts(&mut batch, params), expected, "with prefix hits");
        assert!(batch.engine.stats().prefix_hits > before);
    }
}

#[test]
fn greedy_answers_do_not_depend_on_the_batch_chunks_or_prefix_hits() {
    check_invariance(&greedy(40));
}

#[test]
fn seeded_answers_do_not_depend_on_the_batch_chunks_or_prefix_hits() {
    let params = SamplingParams {
        temperature: 0.9,
        top_p: 0.95,
        seed: Some(11),
        ..greedy(40)
    };
    check_invariance(&params);
}

#[test]
fn arrivals_in_the_middle_change_nothing() {
    let mut client = load(&tiny(), |options| options.step_tokens = Some(64));
    let prompts = prompts();
    let alone: Vec<String> = prompts
        .iter()
        .map(|prompt| client.ask(prompt, &greedy(60)).text)
        .collect();
    let mut asked = Vec::new();
    for prompt in &prompts {
        let id = client.submit(prompt, &greedy(60));
        client.wait_tokens(id, 3);
        asked.push(id);
    }
    let together: Vec<String> = asked.into_iter().map(|id| client.wait(id).text).collect();
    assert_eq!(together, alone);
}

#[test]
fn a_pool_too_small_for_all_preempts_and_changes_nothing() {
    let mut roomy = load(&tiny(), |_| {});
    let expected = texts(&mut roomy, &greedy(60));
    let mut tight = load(&tiny(), |options| {
        let block = 4 * 2 * 2 * 16 * 4 * 32;
        options.kv_bytes = Some(block * 14);
    });
    // On a busy machine the first may have ended before the last are there; then nobody is in the way of another.
    for _ in 0..20 {
        assert_eq!(texts(&mut tight, &greedy(60)), expected);
        if tight.engine.stats().preemptions > 0 {
            break;
        }
    }
    let stats = tight.engine.stats();
    assert!(stats.preemptions > 0, "{stats:?}");
    assert_eq!((stats.running, stats.waiting, stats.blocks_used), (0, 0, 0));
}

#[test]
fn cancel_frees_the_blocks_within_a_step() {
    let mut client = load(&tiny(), |_| {});
    let id = client.submit(&[5; 40], &greedy(400));
    client.wait_tokens(id, 2);
    assert!(client.engine.stats().blocks_used > 0);
    client.engine.cancel(id);
    let answer = client.wait(id);
    let ending = answer.ending.unwrap();
    assert_eq!(ending.reason, FinishReason::Cancelled);
    assert_eq!(ending.completion_tokens, answer.tokens as usize);
    assert!(ending.completion_tokens < 400);
    let after = client.ask(&[7; 3], &greedy(2));
    assert_eq!(after.ending.unwrap().reason, FinishReason::Length);
    let stats = client.engine.stats();
    assert_eq!(
        (stats.blocks_used, stats.cancelled, stats.finished),
        (0, 1, 1)
    );
}

#[test]
fn cancel_of_a_waiting_request_and_of_an_unknown_one() {
    let mut client = load(&tiny(), |options| options.max_sequences = 1);
    let first = client.submit(&[5; 40], &greedy(100));
    let second = client.submit(&[6; 40], &greedy(100));
    client.engine.cancel(second);
    client.engine.cancel(12_345);
    assert_eq!(
        client.wait(second).ending.unwrap().reason,
        FinishReason::Cancelled
    );
    assert_eq!(
        client.wait(first).ending.unwrap().reason,
        FinishReason::Length
    );
    assert_eq!(client.engine.stats().cancelled, 1);
}

#[test]
fn counts_add_up_and_a_repeated_prompt_hits_the_prefix_cache() {
    let mut client = load(&tiny(), |_| {});
    let prompt: Vec<u32> = (10..110).collect();
    let cold = client.ask(&prompt, &greedy(20));
    let ending = cold.ending.unwrap();
    assert_eq!(
        (
            ending.prompt_tokens,
            ending.completion_tokens,
            ending.cached_tokens
        ),
        (100, 20, 0)
    );
    assert_eq!(cold.tokens, 20);
    assert!(ending.prefill_seconds > 0.0 && ending.decode_seconds > 0.0);
    let warm = client.ask(&prompt, &greedy(20));
    assert_eq!(warm.text, cold.text);
    assert_eq!(warm.ending.unwrap().cached_tokens, 96);
    let stats = client.engine.stats();
    assert_eq!((stats.prefill_tokens, stats.decode_tokens), (104, 40));
    assert_eq!(stats.prefix_hits, 96);
    assert_eq!(stats.last_step_age_seconds, 0.0);
}

#[test]
fn cached_beginnings_are_shared_within_a_salt_only() {
    let mut client = load(&tiny(), |_| {});
    let prompt: Vec<u32> = (10..110).collect();
    let mut cached = |cache_salt| {
        let params = SamplingParams {
            cache_salt,
            ..greedy(20)
        };
        client.ask(&prompt, &params).ending.unwrap().cached_tokens
    };
    let salts = [0, 1, 2, 1, 0, 2];
    assert_eq!(salts.map(&mut cached), [0, 0, 0, 96, 96, 96]);
}

#[test]
fn choices_of_one_prompt_that_arrive_together_compute_it_once() {
    let mut client = load(&tiny(), |_| {});
    let prompt: Vec<u32> = (10..110).collect();
    let params = |seed| SamplingParams {
        temperature: 1.0,
        seed: Some(seed),
        ..greedy(20)
    };
    let asked: Vec<u64> = (0..8)
        .map(|seed| client.submit(&prompt, &params(seed)))
        .collect();
    let texts: Vec<String> = asked.iter().map(|&id| client.wait(id).text).collect();
    let stats = client.engine.stats();
    // Three full blocks of 32 tokens are shared; the four tokens after them are each one's own.
    assert_eq!(stats.prefill_tokens, 100 + 7 * 4);
    let distinct: std::collections::BTreeSet<&String> = texts.iter().collect();
    assert!(distinct.len() > 4, "{texts:?}");
    let alone: Vec<String> = (0..8)
        .map(|seed| client.ask(&prompt, &params(seed)).text)
        .collect();
    assert_eq!(texts, alone);
}

#[test]
fn stop_strings_end_the_answer_and_are_not_shown() {
    let mut client = load(&tiny(), |_| {});
    let prompt: Vec<u32> = (10..30).collect();
    let whole = client.ask(&prompt, &greedy(60)).text;
    let characters: Vec<char> = whole.chars().collect();
    let middle = characters.len() / 2;
    let stop: String = characters[middle..middle + 3].iter().collect();
    let params = SamplingParams {
        stop: vec!["never there".to_owned(), stop.clone()],
        ..greedy(60)
    };
    let Answer { text, ending, .. } = client.ask(&prompt, &params);
    let ending = ending.unwrap();
    assert_eq!(ending.reason, FinishReason::Stop);
    assert_eq!(ending.stop_string.as_deref(), Some(stop.as_str()));
    assert_eq!(text, whole[..whole.find(&stop).unwrap()]);
}

#[test]
fn min_tokens_holds_back_endings_and_ignore_eos_ignores_them() {
    let mut client = load(&tiny(), |_| {});
    let hot = |seed, min_tokens, ignore_eos| SamplingParams {
        temperature: 50.0,
        seed: Some(seed),
        min_tokens,
        ignore_eos,
        ..SamplingParams::greedy(400)
    };
    let mut stopped = 0;
    for seed in 0..8 {
        let free = client.ask(&[9], &hot(seed, 0, false)).ending.unwrap();
        stopped += usize::from(free.reason == FinishReason::Stop);
        let held = client.ask(&[9], &hot(seed, 350, false)).ending.unwrap();
        assert!(held.completion_tokens >= 350);
        let ignored = client.ask(&[9], &hot(seed, 0, true)).ending.unwrap();
        assert_eq!(
            (ignored.reason, ignored.completion_tokens),
            (FinishReason::Length, 400)
        );
    }
    assert!(
        stopped >= 2,
        "a nearly flat distribution meets an end-of-sequence token in 400 draws"
    );
}

#[test]
fn what_cannot_be_served_is_refused_at_submit() {
    let client = load(&tiny(), |options| {
        options.max_sequences = 1;
        options.max_waiting = 1;
    });
    let refused =
        |prompt: &[u32], params: SamplingParams| client.try_submit(prompt, &params).unwrap_err();
    let too_long = refused(&[5; 500], greedy(13));
    let numbers = EngineError::ContextLengthExceeded {
        prompt_tokens: 500,
        max_tokens: 13,
        limit: 512,
    };
    assert_eq!(too_long.to_string(), numbers.to_string());
    for (prompt, params) in [
        (&[][..], greedy(1)),
        (&[512], greedy(1)),
        (&[5], greedy(0)),
        (
            &[5],
            SamplingParams {
                top_p: 0.0,
                ..greedy(1)
            },
        ),
        (
            &[5],
            SamplingParams {
                temperature: f32::NAN,
                ..greedy(1)
            },
        ),
        (
            &[5],
            SamplingParams {
                stop: vec![String::new()],
                ..greedy(1)
            },
        ),
        (
            &[5],
            SamplingParams {
                min_tokens: 2,
                ..greedy(1)
            },
        ),
    ] {
        assert!(matches!(
            refused(prompt, params),
            EngineError::InvalidField { .. }
        ));
    }
    client.submit(&[5], &greedy(500));
    client.submit(&[5], &greedy(500));
    assert!(matches!(
        refused(&[5], greedy(1)),
        EngineError::QueueFull {
            waiting: 2,
            limit: 2
        }
    ));
}

#[test]
fn close_ends_every_request_and_refuses_new_ones() {
    let mut client = load(&tiny(), |_| {});
    let first = client.submit(&[5; 40], &greedy(400));
    client.wait_tokens(first, 1);
    client.engine.close();
    client.engine.close();
    assert_eq!(
        client.wait(first).ending.unwrap().reason,
        FinishReason::Cancelled
    );
    assert!(matches!(
        client.try_submit(&[5], &greedy(1)),
        Err(EngineError::EngineFailed(_))
    ));
    assert_eq!(client.engine.stats().failed, None);
}

#[test]
fn chat_and_text_go_both_ways() {
    let client = load(&own_model().join("model.safetensors"), |_| {});
    let info = client.engine.info();
    assert!(info.has_chat_template && info.context_length == 512 && info.vocab == 512);
    assert_eq!(info.defaults.temperature, Some(0.0));
    let chat = |content: &str| {
        let messages = serde_json::json!([{"role": "user", "content": content}]).to_string();
        client
            .engine
            .encode_chat(&messages, None, None, true, None)
            .unwrap()
    };
    let end = client
        .engine
        .encode_text("<|end|>", false, true, None)
        .unwrap();
    assert_eq!(end.len(), 1);
    let count = |tokens: &[u32]| tokens.iter().filter(|token| **token == end[0]).count();
    assert_eq!(count(&chat("hello")), 1);
    assert_eq!(
        count(&chat("hello <|end|> there")),
        1,
        "user text became a control token"
    );
    let tokens = client
        .engine
        .encode_text("hello there", false, false, None)
        .unwrap();
    assert_eq!(client.engine.decode(&tokens), "hello there");
    assert!(matches!(
        client.engine.encode_chat("{", None, None, true, None),
        Err(EngineError::TemplateFailed(_))
    ));
}

#[test]
fn a_load_reports_progress_and_can_be_cancelled() {
    let loader = Loader::new(LoadOptions::new(tiny()));
    let engine = loader.run().unwrap();
    let progress = loader.progress();
    assert_eq!(progress.stage.name(), "done");
    assert!(
        progress.total_bytes > 100_000 && progress.done_bytes == progress.total_bytes,
        "{progress:?}"
    );
    drop(engine);
    let loader = Loader::new(LoadOptions::new(tiny()));
    loader.cancel();
    assert!(matches!(loader.run(), Err(EngineError::LoadCancelled)));
}

#[test]
fn options_that_cannot_be_honoured_are_refused() {
    let run = |change: fn(&mut LoadOptions)| {
        let mut options = LoadOptions::new(tiny());
        change(&mut options);
        Loader::new(options).run().err().unwrap()
    };
    for change in [
        (|options| options.context_length = Some(513)) as fn(&mut LoadOptions),
        |options| options.context_length = Some(0),
        |options| options.kv_bytes = Some(1),
        |options| {
            options.kv_bytes = Some(100_000);
            options.context_length = Some(512);
        },
        |options| options.threads = Some(0),
        |options| options.max_sequences = 0,
    ] {
        let error = run(change);
        assert!(matches!(error, EngineError::InvalidField { .. }), "{error}");
    }
    let error = run(|options| options.path = "/nowhere/model.gguf".into());
    assert!(matches!(error, EngineError::SourceNotFound(_)), "{error}");
}
