//! Continuous batching: who runs, who waits, who gives way.
//!
//! A step is planned so:
//! 1. register what the last step computed; a sequence that outgrew the KV of short ones begins again;
//! 2. each sequence that decodes, the oldest first, gets its token;
//! 3. the oldest that is in its prefill gets what is left of the step, but for half of that (or less, if that does)
//!    where another, running or among the next to be admitted, has less left to compute: that half is for it;
//! 4. what still is left goes to the others that are in their prefill, the oldest first;
//! 5. waiting sequences are admitted in order, while nobody was short of tokens or blocks; one that begins as a
//!    running one does waits until that has computed what they share;
//! 6. one that finds no block, in 2 to 4, takes those of the youngest; the youngest itself waits with what it has.
//!
//! By 3 a short prompt waits for a few steps and not for the long ones before it, and a long one that is the oldest
//! takes at most twice as long. By 6 the oldest always goes on, and alone it always fits, because `add` refuses what
//! would not.

use std::collections::VecDeque;

use crate::block_pool::BlockPool;
use crate::sequence::Sequence;
use crate::{Limits, NewSequence, SchedulerError, SequenceId, Stats, Step, Work};

/// The sequences of one engine and the KV blocks that they share.
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    pool: BlockPool,
    /// In the order of admission.
    running: Vec<Sequence>,
    waiting: VecDeque<Sequence>,
    preemptions: u64,
    prefix_queries: u64,
    prefix_hits: u64,
}

/// How many waiting sequences may overtake those before them.
const LOOK_AHEAD: usize = 16;

/// A step that is being planned.
struct Plan {
    step: Step,
    /// Tokens that still fit in.
    budget: usize,
    /// Whether everybody got what they asked for.
    satisfied: bool,
}

impl Plan {
    fn has(&self, id: SequenceId) -> bool {
        self.step.work.iter().any(|work| work.id == id)
    }

    /// The tokens that it had are free for others.
    fn take_back(&mut self, id: SequenceId) {
        if let Some(place) = self.step.work.iter().position(|work| work.id == id) {
            self.budget += self.step.work.remove(place).tokens.len();
        }
    }
}

impl Scheduler {
    /// A scheduler over an empty pool; refuses limits under which nothing could run.
    pub fn new(limits: Limits) -> Result<Self, SchedulerError> {
        limits.check()?;
        Ok(Self {
            pool: BlockPool::new(limits.blocks, limits.block_size, limits.shares_prefixes),
            limits,
            running: Vec::new(),
            waiting: VecDeque::new(),
            preemptions: 0,
            prefix_queries: 0,
            prefix_hits: 0,
        })
    }

    /// Queue a sequence; refuses one that might not fit even alone, and all while the queue is full.
    pub fn add(&mut self, new: NewSequence) -> Result<(), SchedulerError> {
        self.check(&new)?;
        let sequence = Sequence::new(new, self.limits.short_context);
        self.waiting.push_back(sequence);
        Ok(())
    }

    /// Plan the next step; empty only if there is no sequence. Calling it says that the work of the last step was
    /// computed. Where sequences decode, at most `beside` tokens (at least one) are computed for others, so that the
    /// next tokens of those that decode do not wait long.
    pub fn schedule(&mut self, beside: usize) -> Step {
        for sequence in &mut self.running {
            self.pool.register(sequence);
        }
        self.preempt_outgrown();
        let mut plan = Plan {
            step: Step::default(),
            budget: self.limits.step_tokens,
            satisfied: true,
        };
        self.decode(&mut plan);
        if !plan.step.work.is_empty() {
            plan.budget = plan.budget.min(beside.max(1));
        }
        self.prefill(&mut plan);
        self.admit_waiting(&mut plan);
        plan.step
    }

    /// Append the token sampled for a sequence whose work said so; unknown ids are ignored.
    pub fn commit(&mut self, id: SequenceId, token: u32) {
        let mut running = self.running.iter_mut();
        if let Some(sequence) = running.find(|sequence| sequence.id == id) {
            sequence.push(token);
        }
    }

    /// End a sequence whose last step was computed; what it computed stays for prefix hits. Unknown ids are ignored.
    pub fn finish(&mut self, id: SequenceId) {
        if let Some(mut sequence) = self.remove(id) {
            self.pool.register(&mut sequence);
            self.pool.reclaim(&mut sequence);
        }
    }

    /// End a sequence at any time, also when its last step was not computed. Unknown ids are ignored.
    pub fn cancel(&mut self, id: SequenceId) {
        if let Some(mut sequence) = self.remove(id) {
            self.pool.reclaim(&mut sequence);
        }
    }

    /// Prompt tokens of the sequence that were found in the prefix cache when it was first admitted.
    pub fn cached_tokens(&self, id: SequenceId) -> usize {
        let mut known = self.running.iter().chain(&self.waiting);
        known
            .find(|sequence| sequence.id == id)
            .and_then(|sequence| sequence.cached)
            .unwrap_or(0)
    }

    /// The first block of each running sequence; where prefixes are not shared it stands for the sequence until that
    /// ends or gives way.
    pub fn first_blocks(&self) -> impl Iterator<Item = u32> {
        let running = self.running.iter();
        running.filter_map(|sequence| sequence.blocks.first().copied())
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        Stats {
            running: self.running.len(),
            waiting: self.waiting.len(),
            blocks_used: self.pool.used(),
            blocks_cached: self.pool.cached(),
            blocks_total: self.pool.total(),
            preemptions: self.preemptions,
            prefix_queries: self.prefix_queries,
            prefix_hits: self.prefix_hits,
        }
    }

    fn check(&self, new: &NewSequence) -> Result<(), SchedulerError> {
        let (prompt, max_new) = (new.prompt.len(), new.max_new_tokens);
        let Limits { max_context, .. } = self.limits;
        let pool = self.limits.pool_tokens();
        let most = prompt.saturating_add(max_new);
        let mut known = self.running.iter().chain(&self.waiting);
        let waiting = self.waiting.len();
        if prompt == 0 {
            Err(SchedulerError::EmptyPrompt)
        } else if max_new == 0 {
            Err(SchedulerError::NothingToGenerate)
        } else if most > max_context {
            Err(SchedulerError::ExceedsContext {
                prompt,
                max_new,
                max_context,
            })
        } else if most > pool {
            Err(SchedulerError::ExceedsPool {
                prompt,
                max_new,
                pool,
            })
        } else if known.any(|sequence| sequence.id == new.id) {
            Err(SchedulerError::Duplicate(new.id.0))
        } else if waiting >= self.limits.max_waiting {
            Err(SchedulerError::QueueFull { waiting })
        } else {
            Ok(())
        }
    }

    /// Point 2.
    fn decode(&mut self, plan: &mut Plan) {
        let mut index = 0;
        while index < self.running.len() {
            if self.running[index].left() == 1 {
                self.insist(index, plan);
            }
            index += 1;
        }
    }

    /// Points 3 and 4.
    fn prefill(&mut self, plan: &mut Plan) {
        let Some(oldest) = self.next_in_prefill(0, plan) else {
            return;
        };
        let shorter = self.shorter_than(oldest, plan.budget / 2);
        let shorter = shorter.filter(|&id| self.position(id).is_some() || self.admit_early(id));
        let left = shorter.and_then(|id| Some(self.running[self.position(id)?].left()));
        let share = left.map_or(0, |left| left.min(plan.budget / 2));
        plan.budget -= share;
        self.insist(oldest, plan);
        plan.budget += share;
        if let Some(index) = shorter.and_then(|id| self.position(id)) {
            self.insist(index, plan);
        }
        let mut next = oldest + 1;
        while let Some(index) = self.next_in_prefill(next, plan) {
            self.insist(index, plan);
            next = index + 1;
        }
    }

    /// The place of the oldest from `start` on that is in its prefill and has no work in this step.
    fn next_in_prefill(&self, start: usize, plan: &Plan) -> Option<usize> {
        (start..self.running.len()).find(|&index| {
            let sequence = &self.running[index];
            sequence.left() > 1 && !plan.has(sequence.id)
        })
    }

    /// Who has the least left to compute, if that is less than the oldest has, which has more than half a step.
    fn shorter_than(&self, oldest: usize, half: usize) -> Option<SequenceId> {
        let most = self.running[oldest].left();
        if most <= half || half == 0 {
            return None;
        }
        let running = self.running[oldest + 1..].iter();
        let running = running.map(|other| (other.left(), other.id));
        let running = running.filter(|(left, _)| *left > 1);
        let room = self.running.len() < self.limits.max_running;
        let next = self.waiting.iter().take(if room { LOOK_AHEAD } else { 0 });
        let next = next.filter_map(|other| {
            let hits = self.pool.prefix(other).len();
            let left = other.left() - hits * self.limits.block_size;
            (!self.computes_next_of(other, hits)).then_some((left, other.id))
        });
        let shortest = running.chain(next).min_by_key(|(left, _)| *left);
        shortest.filter(|(left, _)| *left < most).map(|(_, id)| id)
    }

    /// Admit one that waits before those who came earlier; false if it does not fit.
    fn admit_early(&mut self, id: SequenceId) -> bool {
        let place = self.waiting.iter().position(|other| other.id == id);
        let Some((place, mut sequence)) =
            place.and_then(|place| Some((place, self.waiting.remove(place)?)))
        else {
            return false;
        };
        let fits = self.admit(&mut sequence);
        if fits {
            self.running.push(sequence);
        } else {
            self.waiting.insert(place, sequence);
        }
        fits
    }

    fn position(&self, id: SequenceId) -> Option<usize> {
        self.running.iter().position(|sequence| sequence.id == id)
    }

    /// Point 6.
    fn insist(&mut self, index: usize, plan: &mut Plan) {
        while plan.budget > 0 && !self.give_work(index, plan) && index + 1 < self.running.len() {
            self.preempt_youngest(plan);
        }
    }

    /// Point 5.
    fn admit_waiting(&mut self, plan: &mut Plan) {
        while plan.satisfied && plan.budget > 0 && self.running.len() < self.limits.max_running {
            let Some(mut sequence) = self.waiting.pop_front() else {
                return;
            };
            let index = self.running.len();
            if !self.admit(&mut sequence) {
                self.waiting.push_front(sequence);
                return;
            }
            self.running.push(sequence);
            self.give_work(index, plan);
        }
    }

    /// Give a sequence its prefix if all its tokens fit and every running sequence could still grow by a block;
    /// with less, it would soon be preempted again. False if it has to wait.
    fn admit(&mut self, sequence: &mut Sequence) -> bool {
        let hits = self.pool.prefix(sequence);
        if self.computes_next_of(sequence, hits.len()) {
            return false;
        }
        let blocks = sequence.tokens.len().div_ceil(self.limits.block_size);
        let own = blocks - hits.len() + self.pool.idle_among(&hits);
        let needed = own
            + self
                .running
                .iter()
                .map(|other| self.promised(other))
                .sum::<usize>();
        if needed > self.pool.available() {
            return false;
        }
        self.pool.adopt(sequence, &hits);
        if sequence.cached.is_none() {
            sequence.cached = Some(sequence.computed);
            if self.limits.shares_prefixes {
                self.prefix_queries += sequence.prompt as u64;
                self.prefix_hits += sequence.computed as u64;
            }
        }
        true
    }

    /// Blocks that a running sequence needs for the tokens that it has, and one to grow by.
    fn promised(&self, sequence: &Sequence) -> usize {
        let blocks = sequence.tokens.len().div_ceil(self.limits.block_size);
        blocks.saturating_sub(sequence.blocks.len()) + 1
    }

    /// Whether a running sequence is about to have the block that would be the next hit of this one.
    fn computes_next_of(&self, sequence: &Sequence, hits: usize) -> bool {
        let shared = (hits + 1) * self.limits.block_size;
        let mut running = self.running.iter();
        // The last token is always computed, so a block that ends with it is no hit.
        self.limits.shares_prefixes
            && shared < sequence.tokens.len()
            && running.any(|other| other.begins_like(sequence, shared))
    }

    /// Plan as many tokens of a sequence as there are tokens and blocks for; false if there is no block for the
    /// first.
    fn give_work(&mut self, index: usize, plan: &mut Plan) -> bool {
        let sequence = &mut self.running[index];
        let start = sequence.next_position();
        let wanted = sequence.tokens.len();
        let end = wanted.min(start + plan.budget);
        let end = self.pool.extend(sequence, end);
        plan.satisfied &= end == wanted;
        if end <= start {
            return false;
        }
        plan.budget -= end - start;
        let table = end.div_ceil(self.limits.block_size);
        plan.step.work.push(Work {
            id: sequence.id,
            start,
            tokens: sequence.tokens[start..end].to_vec(),
            length: wanted,
            blocks: sequence.blocks[..table].to_vec(),
            sample: end == wanted,
        });
        sequence.computed = end;
        true
    }

    /// The youngest loses its blocks and its work of this step, keeps its tokens, and is the next to be admitted.
    fn preempt_youngest(&mut self, plan: &mut Plan) {
        if let Some(mut sequence) = self.running.pop() {
            plan.take_back(sequence.id);
            self.pool.reclaim(&mut sequence);
            self.waiting.push_front(sequence);
            self.preemptions += 1;
        }
    }

    /// Sequences that became too long for their KV lose it and are the next to be admitted.
    fn preempt_outgrown(&mut self) {
        for index in (0..self.running.len()).rev() {
            if self.running[index].outgrow() {
                let mut sequence = self.running.remove(index);
                self.pool.reclaim(&mut sequence);
                self.waiting.push_front(sequence);
                self.preemptions += 1;
            }
        }
    }

    fn remove(&mut self, id: SequenceId) -> Option<Sequence> {
        let is_it = |sequence: &Sequence| sequence.id == id;
        if let Some(index) = self.running.iter().position(is_it) {
            return Some(self.running.remove(index));
        }
        let index = self.waiting.iter().position(is_it)?;
        self.waiting.remove(index)
    }
}
