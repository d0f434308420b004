//! The thread of an embedding model: collect orders, gather texts of all requests, embed, publish.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::embedder::{Embedder, Halt};
use super::request::{Active, EmbedRequest};
use crate::gauge::Gauge;
use crate::mailbox::{Mailbox, Orders};
use crate::runner::panic_text;
use crate::{Event, FinishReason, Timings};

/// What the engine thread and the handle share.
pub(crate) struct EmbedShared {
    pub mailbox: Mailbox<EmbedRequest>,
    pub gauge: Gauge,
}

/// What the engine thread owns.
pub(crate) struct EmbedRunner {
    pub embedder: Embedder,
    pub shared: Arc<EmbedShared>,
    limits: PassLimits,
    /// In turn: each pass begins with another one.
    active: VecDeque<Active>,
    timings: Timings,
    events: Vec<Event>,
}

/// What one pass takes, beside its first text.
#[derive(Debug, Clone, Copy)]
pub(super) struct PassLimits {
    pub tokens: usize,
    pub texts: usize,
}

/// The texts of one pass: places in the queue of requests, and how many texts of each.
#[derive(Debug, Default, PartialEq, Eq)]
struct Pass {
    /// Place of the request of each text, in the order of the pass.
    requests: Vec<usize>,
    lengths: Vec<usize>,
}

impl EmbedRunner {
    pub(super) fn new(embedder: Embedder, shared: Arc<EmbedShared>, limits: PassLimits) -> Self {
        Self {
            embedder,
            shared,
            limits,
            active: VecDeque::new(),
            timings: Timings::default(),
            events: Vec::new(),
        }
    }

    /// Work until closed; a fault or a panic ends every request with its text.
    pub fn run(mut self) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.work_until_closed()));
        let failure = match outcome {
            Ok(outcome) => outcome.err(),
            Err(panic) => Some(format!("panic: {}", panic_text(panic.as_ref()))),
        };
        self.end_all(failure);
    }

    fn work_until_closed(&mut self) -> Result<(), String> {
        loop {
            let orders = self.shared.mailbox.collect(self.active.is_empty());
            self.shared.gauge.wake();
            let closing = orders.closing;
            self.accept(orders);
            if closing {
                return Ok(());
            }
            self.step()?;
            // Before the events go out: who reads the last one may read the counters next.
            let stats = cortex_scheduler::Stats {
                running: self.active.len(),
                ..cortex_scheduler::Stats::default()
            };
            let idle = self.active.is_empty();
            self.shared.gauge.state(&stats, &self.timings, idle);
            self.shared.mailbox.publish(&mut self.events);
        }
    }

    fn accept(&mut self, orders: Orders<EmbedRequest>) {
        self.active
            .extend(orders.submitted.into_iter().map(Active::new));
        for id in orders.cancelled {
            let place = self
                .active
                .iter()
                .position(|active| active.request.id == id);
            if let Some(mut active) = place.and_then(|place| self.active.remove(place)) {
                self.shared.gauge.cancelled();
                self.events.push(active.end(FinishReason::Cancelled));
            }
        }
    }

    /// One pass over texts of as many requests as there are.
    fn step(&mut self) -> Result<(), String> {
        let pass = self.gather();
        if pass.requests.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        for &place in &pass.requests {
            self.active[place].start(now, &mut self.timings);
        }
        let vectors = match self.embed(&pass) {
            Ok(vectors) => vectors,
            Err(Halt::Unwanted) => return Ok(()),
            Err(Halt::Failed(text)) => return Err(text),
        };
        let tokens = pass.lengths.iter().sum();
        self.shared.gauge.step(tokens, 0);
        let seconds = now.elapsed().as_secs_f64();
        self.timings.step(seconds, pass.lengths.len(), tokens);
        let mut ended = Vec::new();
        for (&place, vector) in pass.requests.iter().zip(&vectors) {
            if ended.contains(&place) {
                continue;
            }
            if let Some(event) = self.active[place].take(vector) {
                let reason = event.ending.as_ref().map(|ending| &ending.reason);
                if reason == Some(&FinishReason::Stop) {
                    self.shared.gauge.finished();
                }
                self.events.push(event);
                ended.push(place);
            }
        }
        ended.sort_unstable();
        for place in ended.into_iter().rev() {
            self.active.remove(place);
        }
        if !self.active.is_empty() {
            self.active.rotate_left(1);
        }
        Ok(())
    }

    /// A text of each request in turn, and again, until the pass is full.
    fn gather(&self) -> Pass {
        let mut pass = Pass::default();
        let mut taken = vec![0; self.active.len()];
        let mut tokens = 0;
        loop {
            let before = pass.requests.len();
            for (place, active) in self.active.iter().enumerate() {
                let Some(len) = active.left().get(taken[place]).map(Vec::len) else {
                    continue;
                };
                let first = pass.requests.is_empty();
                let lengths = pass.lengths.iter().copied().chain([len]);
                let room = pass.requests.len() < self.limits.texts
                    && tokens + len <= self.limits.tokens
                    && self.embedder.fits(lengths);
                if first || room {
                    pass.requests.push(place);
                    pass.lengths.push(len);
                    taken[place] += 1;
                    tokens += len;
                }
            }
            if pass.requests.len() == before {
                return pass;
            }
        }
    }

    fn embed(&mut self, pass: &Pass) -> Result<Vec<Vec<f32>>, Halt> {
        let mut taken = vec![0; self.active.len()];
        let texts = pass.requests.iter().map(|&place| {
            taken[place] += 1;
            self.active[place].left()[taken[place] - 1].as_slice()
        });
        let texts: Vec<&[u32]> = texts.collect();
        let places = taken.iter().enumerate().filter(|(_, taken)| **taken > 0);
        let ids: Vec<u64> = places
            .map(|(place, _)| self.active[place].request.id)
            .collect();
        let shared = &self.shared;
        let wanted = || {
            shared.gauge.wake();
            !shared.mailbox.abandoned(&ids)
        };
        self.embedder.embed(&texts, &wanted)
    }

    /// Nothing is taken any more; every request gets its last event.
    fn end_all(&mut self, failure: Option<String>) {
        let closed = failure
            .clone()
            .unwrap_or_else(|| "the model was unloaded".to_owned());
        let late = self.shared.mailbox.refuse(closed);
        self.active.extend(late.into_iter().map(Active::new));
        let reason = failure
            .clone()
            .map_or(FinishReason::Cancelled, FinishReason::Error);
        for mut active in self.active.drain(..) {
            self.events.push(active.end(reason.clone()));
        }
        self.shared.gauge.end(failure);
        self.shared.mailbox.publish(&mut self.events);
    }
}
