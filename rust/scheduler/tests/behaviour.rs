//! What a caller relies on, case by case.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake;

use cortex_scheduler::{Limits, Scheduler, SchedulerError, SequenceId};
use fake::FakeEngine;

const LIMITS: Limits = Limits {
    block_size: 4,
    blocks: 16,
    step_tokens: 8,
    max_running: 4,
    max_waiting: 4,
    max_context: 64,
    short_context: None,
    shares_prefixes: true,
};

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = LIMITS;
    change(&mut limits);
    limits
}

#[test]
fn prefill_goes_in_chunks_and_decodes_go_first() {
    let mut engine = FakeEngine::new(LIMITS);
    engine.add(1, &[1; 6], 5, 0).unwrap();
    engine.add(2, &[2; 13], 5, 0).unwrap();
    let spans = |engine: &mut FakeEngine| -> Vec<_> {
        let work = engine.step().work.into_iter();
        work.map(|work| (work.id.0, work.start, work.tokens.len(), work.sample))
            .collect()
    };
    assert_eq!(spans(&mut engine), [(1, 0, 6, true), (2, 0, 2, false)]);
    assert_eq!(spans(&mut engine), [(1, 6, 1, true), (2, 2, 7, false)]);
    assert_eq!(spans(&mut engine), [(1, 7, 1, true), (2, 9, 4, true)]);
    assert_eq!(spans(&mut engine), [(1, 8, 1, true), (2, 13, 1, true)]);
}

#[test]
fn a_prefix_hits_in_full_blocks_and_leaves_the_last_token() {
    let mut engine = FakeEngine::new(LIMITS);
    let prompt: Vec<u32> = (0..12).collect();
    engine.add(1, &prompt, 1, 0).unwrap();
    engine.run_out();
    engine.add(2, &prompt, 1, 0).unwrap();
    let step = engine.scheduler.schedule(usize::MAX);
    assert_eq!((step.work[0].start, step.work[0].tokens.len()), (8, 4));
    assert_eq!(engine.scheduler.cached_tokens(SequenceId(2)), 8);
    engine.cancel(2);
    engine.add(3, &prompt, 1, 7).unwrap();
    assert_eq!(engine.step().work[0].start, 0, "another salt");
    engine.run_out();
    let stats = engine.scheduler.stats();
    assert_eq!((stats.prefix_queries, stats.prefix_hits), (36, 8));
    engine.assert_no_leak();
}

#[test]
fn a_prompt_that_another_computes_is_waited_for_and_then_hit() {
    let mut engine = FakeEngine::new(limits(|limits| limits.step_tokens = 64));
    for id in 1..=3 {
        engine.add(id, &[5; 10], 4, 0).unwrap();
    }
    engine.add(4, &[6; 10], 4, 0).unwrap();
    let spans = |engine: &mut FakeEngine| -> Vec<_> {
        let work = engine.step().work.into_iter();
        work.map(|work| (work.id.0, work.start, work.tokens.len()))
            .collect()
    };
    assert_eq!(spans(&mut engine), [(1, 0, 10)]);
    let second = [(1, 10, 1), (2, 8, 2), (3, 8, 2), (4, 0, 10)];
    assert_eq!(spans(&mut engine), second);
    assert_eq!(engine.scheduler.stats().prefix_hits, 16);
    engine.run_out();
    engine.assert_no_leak();
}

#[test]
fn who_shares_nothing_that_could_be_hit_does_not_wait() {
    let mut engine = FakeEngine::new(limits(|limits| limits.step_tokens = 64));
    engine.add(1, &[5; 10], 4, 0).unwrap();
    engine.add(2, &[5; 10], 4, 1).unwrap();
    engine.add(3, &[5; 4], 4, 0).unwrap();
    engine.add(4, &[5, 5, 5, 6, 5], 4, 0).unwrap();
    assert_eq!(engine.step().work.len(), 4);
    engine.run_out();
    engine.assert_no_leak();
}

#[test]
fn equal_blocks_of_the_same_step_merge_after_it() {
    let mut engine = FakeEngine::new(limits(|limits| limits.step_tokens = 32));
    engine.add(1, &[5; 3], 9, 0).unwrap();
    engine.add(2, &[5; 3], 9, 0).unwrap();
    engine.step();
    engine.step();
    assert_eq!(engine.scheduler.stats().prefix_hits, 0);
    assert_eq!(engine.scheduler.stats().blocks_used, 2);
    engine.step();
    assert_eq!(engine.scheduler.stats().blocks_used, 3, "one shared");
    engine.run_out();
    engine.assert_no_leak();
}

#[test]
fn a_sequence_that_becomes_long_begins_again_and_shares_with_long_ones_only() {
    let mut engine = FakeEngine::new(limits(|limits| limits.short_context = Some(10)));
    engine.add(1, &[5; 9], 4, 0).unwrap();
    let starts: Vec<usize> = (0..5)
        .map(|_| engine.step().work.first().map_or(99, |work| work.start))
        .collect();
    // Eight tokens, the ninth, the tenth, and all eleven again in two steps.
    assert_eq!(starts, [0, 8, 9, 0, 8]);
    engine.run_out();
    assert_eq!(engine.scheduler.stats().preemptions, 1);
    engine.add(2, &[5; 9], 1, 0).unwrap();
    assert_eq!(engine.step().work[0].start, 8, "short ones hit");
    engine.run_out();
    engine.assert_no_leak();
}

#[test]
fn a_cancelled_step_leaves_nothing_to_hit() {
    let mut engine = FakeEngine::new(LIMITS);
    engine.add(1, &[5; 8], 4, 0).unwrap();
    engine.scheduler.schedule(usize::MAX);
    engine.cancel(1);
    engine.add(2, &[5; 8], 4, 0).unwrap();
    engine.run_out();
    assert_eq!(engine.scheduler.stats().prefix_hits, 0);
    engine.assert_no_leak();
}

#[test]
fn the_youngest_is_preempted_and_loses_no_token() {
    let generate = |blocks| {
        let mut engine = FakeEngine::new(limits(|limits| limits.blocks = blocks));
        for id in 0..3 {
            engine.add(id, &[id as u32; 5], 20, 0).unwrap();
        }
        engine.run_out();
        engine.assert_no_leak();
        (engine.scheduler.stats().preemptions, engine.done)
    };
    let (none, ample) = generate(64);
    let (some, scarce) = generate(8);
    assert_eq!(none, 0);
    assert!(some > 0);
    assert_eq!(ample, scarce);
}

#[test]
fn cached_blocks_give_way_to_sequences() {
    let mut engine = FakeEngine::new(LIMITS);
    for id in 0..4 {
        engine.add(id, &[id as u32; 60], 4, 0).unwrap();
        engine.run_out();
        assert_eq!(engine.scheduler.stats().blocks_cached, 15);
    }
    engine.add(4, &[3; 60], 4, 0).unwrap();
    engine.add(5, &[0; 60], 4, 0).unwrap();
    engine.run_out();
    assert_eq!(engine.scheduler.stats().prefix_hits, 56, "only the latest");
    engine.assert_no_leak();
}

#[test]
fn an_uncommitted_token_is_computed_again() {
    let mut engine = FakeEngine::new(LIMITS);
    engine.add(1, &[1, 2, 3], 1, 0).unwrap();
    engine.scheduler.schedule(usize::MAX);
    let again = engine.scheduler.schedule(usize::MAX);
    assert_eq!((again.work[0].start, again.work[0].sample), (2, true));
}

#[test]
fn what_cannot_fit_is_refused_with_numbers() {
    let mut engine = FakeEngine::new(limits(|limits| limits.max_context = 100));
    let pool = engine.add(1, &[0; 60], 5, 0).unwrap_err();
    assert!(pool.to_string().contains("60 prompt tokens and 5 new ones"));
    assert!(pool.to_string().contains("64 tokens"));
    let context = engine.add(1, &[0; 60], 41, 0).unwrap_err();
    assert!(context.to_string().contains("the context of 100 tokens"));
    let huge = engine.add(1, &[0; 60], usize::MAX, 0);
    assert!(matches!(huge, Err(SchedulerError::ExceedsContext { .. })));
    assert_eq!(engine.add(1, &[], 5, 0), Err(SchedulerError::EmptyPrompt));
    let nothing = engine.add(1, &[1], 0, 0);
    assert_eq!(nothing, Err(SchedulerError::NothingToGenerate));
    engine.add(1, &[0; 60], 4, 0).unwrap();
    let twice = engine.add(1, &[0], 4, 0);
    assert_eq!(twice, Err(SchedulerError::Duplicate(1)));
    engine.run_out();
    engine.assert_no_leak();
}

#[test]
fn a_full_queue_refuses() {
    let mut engine = FakeEngine::new(LIMITS);
    for id in 0..4 {
        engine.add(id, &[1], 1, 0).unwrap();
    }
    let full = engine.add(4, &[1], 1, 0);
    assert_eq!(full, Err(SchedulerError::QueueFull { waiting: 4 }));
}

#[test]
fn without_sharing_every_sequence_computes_all_of_its_own() {
    let mut engine = FakeEngine::new(limits(|limits| {
        limits.shares_prefixes = false;
        limits.step_tokens = 64;
    }));
    let prompt: Vec<u32> = (0..12).collect();
    for round in 0..2 {
        engine.add(2 * round, &prompt, 3, 0).unwrap();
        engine.add(2 * round + 1, &prompt, 3, 0).unwrap();
        let step = engine.step();
        let starts: Vec<_> = step.work.iter().map(|work| work.start).collect();
        assert_eq!(starts, [0, 0], "round {round}");
        let named: Vec<u32> = engine.scheduler.first_blocks().collect();
        let first: Vec<u32> = step.work.iter().map(|work| work.blocks[0]).collect();
        assert_eq!(named, first);
        engine.run_out();
    }
    assert_eq!(engine.scheduler.first_blocks().count(), 0);
    let stats = engine.scheduler.stats();
    assert_eq!(stats.blocks_cached + stats.prefix_queries as usize, 0);
    engine.assert_no_leak();
}

#[test]
fn limits_that_cannot_work_are_refused() {
    let refused = |change: fn(&mut Limits)| Scheduler::new(limits(change)).unwrap_err();
    let text = refused(|limits| limits.step_tokens = 3).to_string();
    assert!(text.contains("step_tokens is 3; it must be at least max_running"));
    for change in [
        |limits: &mut Limits| limits.block_size = 0,
        |limits: &mut Limits| limits.blocks = 0,
        |limits: &mut Limits| limits.blocks = usize::MAX,
        |limits: &mut Limits| limits.max_running = 0,
        |limits: &mut Limits| limits.max_waiting = 0,
        |limits: &mut Limits| limits.max_context = 0,
    ] {
        refused(change);
    }
}
