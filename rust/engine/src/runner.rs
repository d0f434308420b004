//! The engine thread: collect orders, schedule, run the batch, sample, publish; parked when there is nothing to do.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use candle_core::{CpuStorage, Storage, Tensor};
use cortex_scheduler::{NewSequence, Scheduler, SequenceId, Work};
use cortex_text::{OutputFormat, Tokenizer};

use crate::gauge::Gauge;
use crate::grammar::{Constraint, MaskWorker};
use crate::logprobs::Scorer;
use crate::mailbox::{Mailbox, Orders};
use crate::model::{Batch, Decoder, KvCache, Outputs};
use crate::pace::Pace;
use crate::request::{Active, Request, Sampled};
use crate::sampler::{Row, SampleError, Sampler};
use crate::{Event, FinishReason, Timings};

/// What the engine thread and the handle share.
pub(crate) struct Shared {
    pub mailbox: Mailbox<Request>,
    pub gauge: Gauge,
    pub tokenizer: Arc<Tokenizer>,
    /// Every id that ends a sequence, sorted.
    pub eos: Vec<u32>,
    /// How the model writes thoughts and calls.
    pub format: OutputFormat,
}

/// What the engine thread owns.
pub(crate) struct Runner {
    pub decoder: Decoder,
    pub cache: KvCache,
    pub scheduler: Scheduler,
    pub shared: Arc<Shared>,
    active: HashMap<u64, Active>,
    sampler: Sampler,
    scorer: Scorer,
    masks: MaskWorker,
    batch: Batch,
    timings: Timings,
    pace: Pace,
    events: Vec<Event>,
}

/// A step could not be completed; the model is not to be trusted any more.
struct Fault(String);

impl Runner {
    pub fn new(
        decoder: Decoder,
        cache: KvCache,
        scheduler: Scheduler,
        shared: Arc<Shared>,
    ) -> Self {
        let batch = Batch::new(cache.block_size());
        Self {
            decoder,
            cache,
            scheduler,
            shared,
            active: HashMap::new(),
            sampler: Sampler::default(),
            scorer: Scorer::default(),
            masks: MaskWorker::default(),
            batch,
            timings: Timings::default(),
            pace: Pace::default(),
            events: Vec::new(),
        }
    }

    /// Work until closed; a fault or a panic ends every request with its text.
    pub fn run(mut self) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.work_until_closed()));
        let failure = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(Fault(text))) => Some(text),
            Err(panic) => Some(format!("panic: {}", panic_text(panic.as_ref()))),
        };
        self.end_all(failure);
    }

    fn work_until_closed(&mut self) -> Result<(), Fault> {
        loop {
            let orders = self.shared.mailbox.collect(self.active.is_empty());
            self.shared.gauge.wake();
            if orders.closing {
                self.accept(orders);
                return Ok(());
            }
            self.accept(orders);
            if !self.active.is_empty() {
                self.step()?;
            }
            if self.active.is_empty() {
                self.cache.keep(self.scheduler.first_blocks());
            }
            // Before the events go out: who reads the last one may read the counters next.
            let (stats, idle) = (self.scheduler.stats(), self.active.is_empty());
            self.shared.gauge.state(&stats, &self.timings, idle);
            self.shared.mailbox.publish(&mut self.events);
        }
    }

    /// New requests go to the scheduler, cancelled ones give their blocks back.
    fn accept(&mut self, orders: Orders<Request>) {
        // All are known before anything can go wrong, so that each of them gets its ending.
        let arrived: Vec<u64> = orders.submitted.iter().map(|request| request.id).collect();
        for request in orders.submitted {
            let active = Active::new(request, &self.shared.tokenizer);
            self.active.insert(active.request.id, active);
        }
        for id in arrived {
            self.add(id);
        }
        for id in orders.cancelled {
            if let Some(mut active) = self.active.remove(&id) {
                self.scheduler.cancel(SequenceId(id));
                self.shared.gauge.cancelled();
                let event = active.end(FinishReason::Cancelled);
                event
                    .ending
                    .iter()
                    .for_each(|ending| self.timings.ended(ending));
                self.events.push(event);
            }
        }
    }

    fn add(&mut self, id: u64) {
        let Some(active) = self.active.get_mut(&id) else {
            return;
        };
        let params = &active.request.params;
        let sequence = NewSequence {
            id: SequenceId(id),
            prompt: Arc::clone(&active.request.prompt),
            max_new_tokens: params.max_tokens.max(1),
            // A prompt that is scored is computed whole: it shares with nobody.
            cache_salt: params.prompt_logprobs.map_or(params.cache_salt, |_| id),
        };
        if let Err(refusal) = self.scheduler.add(sequence) {
            let reason = FinishReason::Error(refusal.to_string());
            self.events.push(active.end(reason));
            self.active.remove(&id);
        }
    }

    /// One ragged batch.
    fn step(&mut self) -> Result<(), Fault> {
        let now = Instant::now();
        let step = self.scheduler.schedule(self.pace.beside_decodes());
        self.cache.keep(self.scheduler.first_blocks());
        if step.work.is_empty() {
            return Err(Fault(
                "the scheduler has sequences but no work for them".to_owned(),
            ));
        }
        let (prefilled, decoded) = self.pack(&step.work, now);
        let logits = self.decoder.forward(&self.batch, &self.cache);
        let logits = logits.map_err(|error| Fault(format!("forward pass: {error}")))?;
        self.shared.gauge.step(prefilled, decoded);
        if let Some(logits) = logits {
            self.read(&step.work, &logits)?;
        }
        let seconds = now.elapsed().as_secs_f64();
        let tokens = step.work.iter().map(|work| work.tokens.len());
        self.timings
            .step(seconds, step.work.len(), tokens.clone().sum());
        let decoding = tokens.clone().filter(|&tokens| tokens == 1).count();
        let beside = tokens.filter(|&tokens| tokens > 1).sum();
        self.pace.took(seconds, beside, decoding);
        Ok(())
    }

    /// Make the batch of a step; how many prompt tokens it computes, and how many new ones come out.
    fn pack(&mut self, work: &[Work], now: Instant) -> (usize, usize) {
        let (mut prefilled, mut decoded) = (0, 0);
        self.batch.clear();
        for work in work {
            let mut outputs = if work.sample {
                Outputs::Last
            } else {
                Outputs::None
            };
            if let Some(active) = self.active.get_mut(&work.id.0) {
                let cached = self.scheduler.cached_tokens(work.id);
                active.start(now, cached, &mut self.timings);
                if active.scores_prompt(work.start) {
                    outputs = Outputs::All;
                }
                let prompt = active.request.prompt.len();
                prefilled += (work.start + work.tokens.len())
                    .min(prompt)
                    .saturating_sub(work.start);
                decoded += usize::from(work.sample && active.request.params.max_tokens > 0);
            }
            let (start, length) = (work.start, work.length);
            self.batch
                .push_part(start, &work.tokens, length, &work.blocks, outputs);
        }
        (prefilled, decoded)
    }

    /// Score prompts and sample from the logits of a step.
    fn read(&mut self, work: &[Work], logits: &Tensor) -> Result<(), Fault> {
        let vocab = self.decoder.description().vocab;
        let (storage, layout) = logits.storage_and_layout();
        let Storage::Cpu(CpuStorage::F32(all)) = &*storage else {
            return Err(Fault("logits are not f32 on the CPU".to_owned()));
        };
        let mut rows = all[layout.start_offset()..].chunks_exact(vocab);
        for work in work {
            let Some(active) = self.active.get_mut(&work.id.0) else {
                return Err(Fault("a sequence without a request".to_owned()));
            };
            let mut last = None;
            if active.scores_prompt(work.start) {
                let mut own = rows.by_ref().take(work.tokens.len());
                let seen = own.by_ref().inspect(|row| last = Some(*row));
                active.score_prompt(work.start, seen, &mut self.scorer);
            } else if work.sample {
                last = rows.next();
            }
            if let Some(logits) = last.filter(|_| work.sample) {
                self.sample(work.id, logits);
            }
        }
        Ok(())
    }

    fn sample(&mut self, id: SequenceId, logits: &[f32]) {
        let event = self.next_event(id, logits);
        if let Some(ending) = event.as_ref().and_then(|event| event.ending.as_ref()) {
            self.timings.ended(ending);
            if !matches!(ending.reason, FinishReason::Error(_)) {
                self.shared.gauge.finished();
            }
            self.scheduler.finish(id);
            self.active.remove(&id.0);
        }
        self.events.extend(event);
    }

    /// The next token of a sequence as its event; none for an unknown one.
    fn next_event(&mut self, id: SequenceId, logits: &[f32]) -> Option<Event> {
        let active = self.active.get_mut(&id.0)?;
        if active.request.params.max_tokens == 0 {
            return Some(active.end(FinishReason::Length));
        }
        let eos = &self.shared.eos;
        let token = match choose(&mut self.sampler, active, eos, logits) {
            Ok(token) => token,
            Err(reason) => return Some(active.complete(reason)),
        };
        self.scheduler.commit(id, token);
        let ends_sequence = active.ends(token, eos);
        let masks = &mut self.masks;
        let constraint = active.constraint.as_mut().filter(|_| !ends_sequence);
        let sampled = Sampled {
            token,
            ends_sequence,
            completes_grammar: constraint.is_some_and(|grammar| grammar.take(token, masks)),
            logprob: active
                .request
                .params
                .logprobs
                .map(|top| self.scorer.score(logits, token, top)),
        };
        Some(active.take(sampled, Instant::now(), &mut self.timings))
    }

    /// Nothing is taken any more; every request gets its last event.
    fn end_all(&mut self, failure: Option<String>) {
        let closed = failure
            .clone()
            .unwrap_or_else(|| "the model was unloaded".to_owned());
        let late = self.shared.mailbox.refuse(closed);
        let reason = failure
            .clone()
            .map_or(FinishReason::Cancelled, FinishReason::Error);
        for request in late {
            let id = request.id;
            self.active
                .insert(id, Active::new(request, &self.shared.tokenizer));
        }
        for (_, mut active) in self.active.drain() {
            self.events.push(active.end(reason.clone()));
        }
        self.shared.gauge.end(failure);
        self.shared.mailbox.publish(&mut self.events);
    }
}

/// The next token of a request, or why there is none.
fn choose(
    sampler: &mut Sampler,
    active: &mut Active,
    eos: &[u32],
    logits: &[f32],
) -> Result<u32, FinishReason> {
    let mut constraint = active.constraint.take();
    let mask = constraint.as_mut().map(Constraint::mask).transpose();
    let mask = mask.map_err(|text| FinishReason::Error(format!("the grammar: {text}")))?;
    let token = sampler.sample(&Row {
        logits,
        params: &active.request.params,
        seed: active.request.seed,
        position: active.position(),
        counts: active.counts.as_ref(),
        mask,
        forbidden: active.forbidden(eos),
    });
    active.constraint = constraint;
    token.map_err(|error| {
        let mut constraint = active.constraint.as_mut();
        let complete = error == SampleError::NothingAllowed
            && constraint
                .as_mut()
                .is_some_and(|grammar| grammar.is_accepting());
        if complete {
            FinishReason::Stop
        } else {
            FinishReason::Error(error.to_string())
        }
    })
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::loader::LoadState;
    use crate::model::{KvCache, KvType};
    use crate::{Engine, EngineError, LoadOptions, SamplingParams, assembly};

    fn sound_parts() -> assembly::Parts {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/models/llama/model-q4_1.gguf"
        );
        let options = LoadOptions::new(path);
        let file = cortex_weights::ModelFile::open(path).unwrap();
        assembly::assemble(file, &options, &LoadState::default()).unwrap()
    }

    /// An engine whose KV tensors hold one block where the scheduler hands out many.
    fn broken_engine() -> Engine {
        let mut parts = sound_parts();
        let shape = parts.runner.decoder.description().clone();
        let device = parts.runner.decoder.device().clone();
        parts.runner.cache = KvCache::new(
            &shape,
            1,
            parts.runner.cache.block_size(),
            (KvType::F32, &device),
        )
        .unwrap();
        Engine::start(parts).unwrap()
    }

    /// The reasons for which so many requests ended.
    fn reasons(engine: &Engine, requests: usize) -> Vec<FinishReason> {
        let mut reasons = Vec::new();
        while reasons.len() < requests {
            let mut poll = libc::pollfd {
                fd: engine.fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one valid pollfd.
            let ready = unsafe { libc::poll(&raw mut poll, 1, 10_000) };
            assert_eq!(ready, 1, "a request without an ending");
            let endings = engine.drain().into_iter().filter_map(|event| event.ending);
            reasons.extend(endings.map(|ending| ending.reason));
        }
        reasons
    }

    #[test]
    fn a_fault_ends_every_request_and_refuses_new_ones() {
        let engine = broken_engine();
        let ask = || engine.submit(vec![5; 100], SamplingParams::greedy(5));
        let accepted = (0..4).filter_map(|_| ask().ok()).count();
        assert!(accepted > 0);
        let reasons = reasons(&engine, accepted);
        let faults = reasons
            .iter()
            .all(|reason| matches!(reason, FinishReason::Error(text) if text.starts_with("forward pass: ")));
        assert!(faults, "{reasons:?}");
        assert!(engine.stats().failed.is_some());
        assert!(matches!(ask(), Err(EngineError::EngineFailed(_))));
    }

    #[test]
    fn a_panic_is_caught_at_the_threads_edge_and_ends_every_request_with_its_text() {
        let mut parts = sound_parts();
        // No block table is long enough.
        parts.runner.batch = Batch::new(0);
        let engine = Engine::start(parts).unwrap();
        let ask = || engine.submit(vec![5; 100], SamplingParams::greedy(5));
        let accepted = (0..3).filter_map(|_| ask().ok()).count();
        let reasons = reasons(&engine, accepted);
        let caught = reasons.iter().all(
            |reason| matches!(reason, FinishReason::Error(text) if text.starts_with("panic: ")),
        );
        assert!(accepted > 0 && caught, "{reasons:?}");
        let failed = engine.stats().failed.unwrap();
        assert!(
            failed.contains("the block table ends before the tokens"),
            "{failed}"
        );
        assert!(matches!(ask(), Err(EngineError::EngineFailed(_))));
        engine.close();
    }
}
