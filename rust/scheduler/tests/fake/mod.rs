//! An engine without a model: it remembers what each KV slot holds and checks whatever a step presents.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash, Hasher};

use cortex_scheduler::{Limits, NewSequence, Scheduler, SchedulerError, SequenceId, Step, Work};

/// What the engine knows of a sequence.
struct Known {
    salt: u64,
    short: usize,
    tokens: Vec<u32>,
    most: usize,
    /// Where its last work ended, and how many preemptions there were by then.
    last: Option<(usize, u64)>,
}

impl Known {
    /// KV depends on every token up to its position, and on whether the sequence is long.
    fn kv(&self, position: usize) -> u64 {
        let mut hasher = DefaultHasher::new();
        let long = self.tokens.len() > self.short;
        (self.salt, long, &self.tokens[..=position]).hash(&mut hasher);
        hasher.finish()
    }
}

pub struct FakeEngine {
    pub scheduler: Scheduler,
    limits: Limits,
    memory: Vec<Option<u64>>,
    /// Where prefixes are not shared: whose state each first block names, and behind how many tokens it is.
    states: HashMap<u32, (u64, usize)>,
    known: BTreeMap<u64, Known>,
    /// Generated tokens by sequence, of those that ended by length.
    pub done: BTreeMap<u64, Vec<u32>>,
    /// Most tokens of a step so far.
    pub largest_step: usize,
    /// Most tokens of others in a step in which sequences decode.
    pub beside: usize,
}

impl FakeEngine {
    pub fn new(limits: Limits) -> Self {
        Self {
            scheduler: Scheduler::new(limits).unwrap(),
            limits,
            memory: vec![None; limits.blocks * limits.block_size],
            states: HashMap::new(),
            known: BTreeMap::new(),
            done: BTreeMap::new(),
            largest_step: 0,
            beside: usize::MAX,
        }
    }

    pub fn add(
        &mut self,
        id: u64,
        prompt: &[u32],
        max_new: usize,
        salt: u64,
    ) -> Result<(), SchedulerError> {
        self.scheduler.add(NewSequence {
            id: SequenceId(id),
            prompt: prompt.into(),
            max_new_tokens: max_new,
            cache_salt: salt,
        })?;
        let known = Known {
            salt,
            short: self.limits.short_context.unwrap_or(usize::MAX),
            tokens: prompt.to_vec(),
            most: prompt.len() + max_new,
            last: None,
        };
        self.known.insert(id, known);
        Ok(())
    }

    pub fn cancel(&mut self, id: u64) {
        self.scheduler.cancel(SequenceId(id));
        self.known.remove(&id);
    }

    pub fn is_idle(&self) -> bool {
        self.known.is_empty()
    }

    /// One turn: plan, check, compute, sample.
    pub fn step(&mut self) -> Step {
        let step = self.scheduler.schedule(self.beside);
        assert_eq!(step.work.is_empty(), self.known.is_empty(), "work for all");
        self.check_budget(&step);
        if !self.limits.shares_prefixes {
            self.advance_states(&step);
        }
        for work in &step.work {
            self.check_tokens(work);
            self.check_memory(work, work.start);
        }
        for work in &step.work {
            for position in work.start..work.start + work.tokens.len() {
                let slot = self.slot(work, position);
                self.memory[slot] = Some(self.known[&work.id.0].kv(position));
            }
        }
        for work in &step.work {
            self.check_memory(work, work.start + work.tokens.len());
        }
        for work in step.work.iter().filter(|work| work.sample) {
            self.sample(work.id);
        }
        step
    }

    /// Steps until every sequence has ended; each makes progress, so the count is bounded.
    pub fn run_out(&mut self) {
        for _ in 0..20_000 {
            if self.is_idle() {
                return;
            }
            self.step();
        }
        panic!("sequences that never end");
    }

    /// Nothing is held once everything has ended.
    pub fn assert_no_leak(&self) {
        let stats = self.scheduler.stats();
        assert_eq!((stats.running, stats.waiting, stats.blocks_used), (0, 0, 0));
        assert!(stats.blocks_cached <= stats.blocks_total);
    }

    fn check_budget(&mut self, step: &Step) {
        let tokens: usize = step.work.iter().map(|work| work.tokens.len()).sum();
        self.largest_step = self.largest_step.max(tokens);
        assert!(tokens <= self.limits.step_tokens, "budget: {tokens}");
        self.check_beside(step);
        let ids: HashSet<u64> = step.work.iter().map(|work| work.id.0).collect();
        assert_eq!(ids.len(), step.work.len(), "one work a sequence");
        let stats = self.scheduler.stats();
        assert!(stats.running <= self.limits.max_running);
        assert!(stats.blocks_used + stats.blocks_cached <= stats.blocks_total);
        assert_eq!(stats.running + stats.waiting, self.known.len());
    }

    /// States are kept of running sequences only; each goes through all tokens of one sequence in order.
    fn advance_states(&mut self, step: &Step) {
        let running: HashSet<u32> = self.scheduler.first_blocks().collect();
        assert_eq!(running.len(), self.scheduler.stats().running, "own blocks");
        self.states.retain(|block, _| running.contains(block));
        for work in &step.work {
            let end = work.start + work.tokens.len();
            let before = self.states.insert(work.blocks[0], (work.id.0, end));
            assert!(work.start == 0 || before == Some((work.id.0, work.start)));
        }
    }

    /// Beside sequences that surely decode there are no more tokens of others than there may be.
    fn check_beside(&self, step: &Step) {
        let now = self.scheduler.stats().preemptions;
        let goes_on = |work: &Work| self.known[&work.id.0].last == Some((work.start, now));
        let decodes = |work: &Work| work.tokens.len() == 1 && work.sample && goes_on(work);
        let beside: usize = step
            .work
            .iter()
            .map(|work| work.tokens.len())
            .filter(|tokens| *tokens > 1)
            .sum();
        if step.work.iter().any(decodes) {
            assert!(beside <= self.beside.max(1), "beside decodes: {step:?}");
        }
    }

    fn check_tokens(&mut self, work: &Work) {
        let preemptions = self.scheduler.stats().preemptions;
        let known = self.known.get_mut(&work.id.0).expect("a live sequence");
        let end = work.start + work.tokens.len();
        assert!(!work.tokens.is_empty());
        assert_eq!(work.tokens, known.tokens[work.start..end]);
        assert_eq!(work.sample, end == known.tokens.len());
        assert_eq!(work.blocks.len(), end.div_ceil(self.limits.block_size));
        if let Some((last, before)) = known.last.replace((end, preemptions)) {
            assert!(before < preemptions || last == work.start, "a gap");
        }
    }

    fn check_memory(&self, work: &Work, end: usize) {
        let known = &self.known[&work.id.0];
        for position in 0..end {
            let held = self.memory[self.slot(work, position)];
            assert_eq!(held, Some(known.kv(position)), "KV of {position}");
        }
    }

    fn slot(&self, work: &Work, position: usize) -> usize {
        let size = self.limits.block_size;
        work.blocks[position / size] as usize * size + position % size
    }

    /// The token depends on all before it, as a model's would.
    fn sample(&mut self, id: SequenceId) {
        let known = self.known.get_mut(&id.0).unwrap();
        let token = (known.kv(known.tokens.len() - 1) % 3) as u32;
        known.tokens.push(token);
        self.scheduler.commit(id, token);
        if known.tokens.len() == known.most {
            self.scheduler.finish(id);
            let known = self.known.remove(&id.0).unwrap();
            self.done.insert(id.0, known.tokens);
        }
    }
}
