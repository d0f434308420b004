//! Whatever arrives and leaves when: nothing leaks, nothing stalls, nobody sees KV of other tokens.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake;

use cortex_scheduler::Limits;
use fake::FakeEngine;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Action {
    Add {
        prompt: Vec<u32>,
        max_new: usize,
        salt: u64,
    },
    Cancel(u64),
    Steps(usize),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    // Two token values and two salts: most prompts share a prefix with another.
    let add = (prop::collection::vec(0..2u32, 1..24), 1..16usize, 0..2u64);
    let add = add.prop_map(|(prompt, max_new, salt)| Action::Add {
        prompt,
        max_new,
        salt,
    });
    let action = prop_oneof![
        4 => add,
        1 => (0..40u64).prop_map(Action::Cancel),
        3 => (1..6usize).prop_map(Action::Steps),
    ];
    prop::collection::vec(action, 1..40)
}

fn limits() -> impl Strategy<Value = Limits> {
    let short = prop::option::of(1..30usize);
    let sizes = (1..6usize, 4..24usize, 1..6usize, 0..12usize);
    (sizes, short, any::<bool>()).prop_map(
        |((block_size, blocks, max_running, spare), short_context, shares_prefixes)| Limits {
            block_size,
            blocks,
            step_tokens: max_running + spare,
            max_running,
            max_waiting: 10,
            max_context: 36,
            short_context,
            shares_prefixes,
        },
    )
}

fn play(engine: &mut FakeEngine, actions: &[Action]) {
    for (id, action) in (0..).zip(actions) {
        match action {
            Action::Add {
                prompt,
                max_new,
                salt,
            } => drop(engine.add(id, prompt, *max_new, *salt)),
            Action::Cancel(id) => engine.cancel(*id),
            Action::Steps(count) => (0..*count).for_each(|_| drop(engine.step())),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_sequence_ends_and_every_block_comes_back(
        limits in limits(), actions in actions(), beside in 0..12usize,
    ) {
        let mut engine = FakeEngine::new(limits);
        engine.beside = beside;
        play(&mut engine, &actions);
        engine.run_out();
        engine.assert_no_leak();
        prop_assert!(engine.largest_step <= limits.step_tokens);
    }

    #[test]
    fn tokens_do_not_depend_on_the_limits(
        limits in limits(), actions in actions(), beside in 0..12usize,
    ) {
        let ample = Limits { blocks: 512, step_tokens: 512, max_waiting: 64, ..limits };
        let (mut scarce, mut free) = (FakeEngine::new(limits), FakeEngine::new(ample));
        scarce.beside = beside;
        for engine in [&mut scarce, &mut free] {
            play(engine, &actions);
            engine.run_out();
        }
        for (id, tokens) in &scarce.done {
            // One that was cancelled late in one of them has ended in the other.
            if let Some(same) = free.done.get(id) {
                prop_assert_eq!(tokens, same);
            }
        }
    }
}
