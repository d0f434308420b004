//! Counters of the engine, written by its thread once a step and read by anyone at any time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::{Stats, Timings};

#[derive(Default)]
struct Reading {
    stats: Stats,
    timings: Timings,
    /// When the thread last made progress; `None` while it has nothing to do.
    busy_since: Option<Instant>,
}

/// The engine's counters.
#[derive(Default)]
pub(crate) struct Gauge {
    reading: Mutex<Reading>,
}

impl Gauge {
    fn lock(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All counters now.
    pub fn read(&self) -> Stats {
        let reading = self.lock();
        let mut stats = reading.stats.clone();
        stats.last_step_age_seconds = reading
            .busy_since
            .map_or(0.0, |since| since.elapsed().as_secs_f64());
        stats
    }

    /// All distributions as of the last step.
    pub fn timings(&self) -> Timings {
        self.lock().timings
    }

    /// The thread begins a step.
    pub fn wake(&self) {
        self.lock().busy_since = Some(Instant::now());
    }

    /// The state after a step; `idle` if the thread is about to park.
    pub fn state(&self, scheduler: &cortex_scheduler::Stats, timings: &Timings, idle: bool) {
        let mut reading = self.lock();
        reading.timings = *timings;
        if idle {
            reading.busy_since = None;
        }
        copy(&mut reading.stats, scheduler);
    }

    /// A forward pass over so many prompt tokens that made so many new ones.
    pub fn step(&self, prefill_tokens: usize, decode_tokens: usize) {
        let mut reading = self.lock();
        reading.stats.steps += 1;
        reading.stats.prefill_tokens += prefill_tokens as u64;
        reading.stats.decode_tokens += decode_tokens as u64;
    }

    /// A request ended by itself.
    pub fn finished(&self) {
        self.lock().stats.finished += 1;
    }

    /// A request was cancelled.
    pub fn cancelled(&self) {
        self.lock().stats.cancelled += 1;
    }

    /// The thread ends, by a failure or because it was closed.
    pub fn end(&self, failed: Option<String>) {
        let mut reading = self.lock();
        reading.busy_since = None;
        reading.stats.failed = failed;
        reading.stats.running = 0;
        reading.stats.waiting = 0;
        reading.stats.blocks_used = 0;
    }
}

fn copy(stats: &mut Stats, scheduler: &cortex_scheduler::Stats) {
    stats.running = scheduler.running;
    stats.waiting = scheduler.waiting;
    stats.blocks_used = scheduler.blocks_used;
    stats.blocks_cached = scheduler.blocks_cached;
    stats.blocks_total = scheduler.blocks_total;
    stats.preemptions = scheduler.preemptions;
    stats.prefix_queries = scheduler.prefix_queries;
    stats.prefix_hits = scheduler.prefix_hits;
}
