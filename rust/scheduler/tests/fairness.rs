//! Who waits for whom: decodes for prefills, short prompts for long ones, and nobody for ever.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake;

use cortex_scheduler::Limits;
use fake::FakeEngine;

const LIMITS: Limits = Limits {
    block_size: 4,
    blocks: 64,
    step_tokens: 8,
    max_running: 4,
    max_waiting: 64,
    max_context: 128,
    short_context: None,
    shares_prefixes: true,
};

/// Sequence, first position and number of tokens of each work of a step.
fn spans(engine: &mut FakeEngine) -> Vec<(u64, usize, usize)> {
    let work = engine.step().work.into_iter();
    work.map(|work| (work.id.0, work.start, work.tokens.len()))
        .collect()
}

/// Steps until a sequence samples its first token.
fn steps_to_first_token(engine: &mut FakeEngine, id: u64) -> usize {
    let sampled = |engine: &mut FakeEngine| {
        let work = engine.step().work;
        work.iter().any(|work| work.id.0 == id && work.sample)
    };
    (1..1000).find(|_| sampled(engine)).unwrap()
}

/// Four long prompts, no two of which begin alike; the first is under way.
fn busy_with_long_prompts(limits: Limits) -> FakeEngine {
    let mut engine = FakeEngine::new(limits);
    for id in 1..=4 {
        engine.add(id, &[id as u32; 40], 2, 0).unwrap();
    }
    assert_eq!(spans(&mut engine), [(1, 0, 8)]);
    engine
}

#[test]
fn a_prefill_takes_no_more_than_it_may_beside_decodes_and_a_whole_step_without() {
    let mut engine = FakeEngine::new(LIMITS);
    engine.beside = 3;
    engine.add(1, &[1; 8], 3, 0).unwrap();
    assert_eq!(spans(&mut engine), [(1, 0, 8)]);
    engine.add(2, &[2; 30], 2, 0).unwrap();
    assert_eq!(spans(&mut engine), [(1, 8, 1), (2, 0, 3)]);
    assert_eq!(spans(&mut engine), [(1, 9, 1), (2, 3, 3)]);
    assert_eq!(spans(&mut engine), [(2, 6, 8)]);
    engine.run_out();
    engine.assert_no_leak();
}

#[test]
fn a_prefill_goes_on_whatever_it_may_take_beside_decodes() {
    let mut engine = FakeEngine::new(LIMITS);
    engine.beside = 0;
    engine.add(1, &[1; 8], 30, 0).unwrap();
    engine.step();
    engine.add(2, &[2; 3], 2, 0).unwrap();
    assert_eq!(steps_to_first_token(&mut engine, 2), 3);
}

#[test]
fn a_short_prompt_overtakes_long_ones_with_half_of_each_step() {
    let mut engine = busy_with_long_prompts(LIMITS);
    engine.add(5, &[5; 6], 1, 0).unwrap();
    assert_eq!(spans(&mut engine), [(1, 8, 4), (5, 0, 4)]);
    assert_eq!(spans(&mut engine), [(1, 12, 6), (5, 4, 2)]);
    assert_eq!(spans(&mut engine), [(1, 18, 8)]);
    engine.run_out();
    engine.assert_no_leak();
}

#[test]
fn prompts_of_one_length_go_in_the_order_of_their_arrival() {
    let mut engine = busy_with_long_prompts(LIMITS);
    let mut order: Vec<u64> = Vec::new();
    while !engine.is_idle() {
        for work in engine.step().work {
            if work.tokens.len() > 1 && order.last() != Some(&work.id.0) {
                order.push(work.id.0);
            }
        }
    }
    order.dedup();
    assert_eq!(order, [1, 2, 3, 4]);
}

#[test]
fn a_stream_of_short_prompts_at_most_doubles_the_time_of_a_long_one() {
    let mut engine = busy_with_long_prompts(LIMITS);
    let mut next = 10;
    let mut arrive = |engine: &mut FakeEngine| {
        for _ in 0..2 {
            let _ = engine.add(next, &[next as u32; 5], 1, 0);
            next += 1;
        }
        engine.step().work
    };
    let first = (1..100).find(|_| {
        let work = arrive(&mut engine);
        let long = work.iter().find(|work| work.id.0 == 1).unwrap();
        assert!(long.sample || long.tokens.len() >= 4, "{work:?}");
        long.sample
    });
    assert!(first.unwrap() <= 32_usize.div_ceil(4));
    let second = (1..100).find(|_| {
        let work = arrive(&mut engine);
        work.iter().any(|work| work.id.0 == 2 && work.sample)
    });
    assert!(second.unwrap() <= 40 / 3, "{second:?}");
}

#[test]
fn a_long_prompt_whose_beginning_is_known_counts_as_what_is_left_of_it() {
    let mut engine = FakeEngine::new(LIMITS);
    engine.add(9, &[9; 40], 1, 0).unwrap();
    engine.run_out();
    engine.add(1, &[1; 40], 2, 0).unwrap();
    engine.step();
    engine.add(2, &[2; 20], 2, 0).unwrap();
    engine.add(3, &[9; 41], 2, 0).unwrap();
    assert_eq!(spans(&mut engine), [(1, 8, 7), (3, 40, 1)]);
    assert_eq!(engine.scheduler.stats().prefix_hits, 40);
    engine.run_out();
    engine.assert_no_leak();
}

#[test]
fn who_does_not_fit_beside_what_is_promised_takes_no_share() {
    let mut engine = busy_with_long_prompts(Limits {
        blocks: 12,
        max_context: 48,
        ..LIMITS
    });
    engine.add(5, &[5; 6], 1, 0).unwrap();
    assert_eq!(spans(&mut engine), [(1, 8, 8)]);
    engine.run_out();
    engine.assert_no_leak();
    assert_eq!(engine.scheduler.stats().preemptions, 0);
}
