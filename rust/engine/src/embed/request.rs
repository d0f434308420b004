//! One embedding request inside the engine: its texts, the vectors so far, its times.

use std::time::Instant;

use super::embedder::normalised;
use crate::event::Vectors;
use crate::{Ending, Event, FinishReason, Timings};

/// A request as it was submitted.
#[derive(Debug)]
pub(crate) struct EmbedRequest {
    pub id: u64,
    /// Tokens of each text; none is empty.
    pub texts: Vec<Vec<u32>>,
    /// Values of each vector that count.
    pub dimensions: usize,
    pub submitted: Instant,
}

/// A request that the engine thread works on.
pub(super) struct Active {
    pub request: EmbedRequest,
    values: Vec<f32>,
    done: usize,
    started: Option<Instant>,
}

impl Active {
    pub fn new(request: EmbedRequest) -> Self {
        Self {
            request,
            values: Vec::new(),
            done: 0,
            started: None,
        }
    }

    /// Texts without a vector, in order.
    pub fn left(&self) -> &[Vec<u32>] {
        &self.request.texts[self.done..]
    }

    /// A pass works on the request; the first one ends its time in the queue.
    pub fn start(&mut self, now: Instant, timings: &mut Timings) {
        if self.started.is_none() {
            self.started = Some(now);
            let queued = now.saturating_duration_since(self.request.submitted);
            timings.queue.observe(queued.as_secs_f64());
        }
    }

    /// Take the vector of the next text; the event that ends the request if it was the last, or has no direction.
    pub fn take(&mut self, vector: &[f32]) -> Option<Event> {
        let Some(vector) = normalised(&vector[..self.request.dimensions]) else {
            let text = format!("the model gives no direction to input {}", self.done);
            return Some(self.end(FinishReason::Error(text)));
        };
        self.values.extend(vector);
        self.done += 1;
        (self.done == self.request.texts.len()).then(|| self.end(FinishReason::Stop))
    }

    /// The last event.
    pub fn end(&mut self, reason: FinishReason) -> Event {
        let whole = reason == FinishReason::Stop;
        let values = std::mem::take(&mut self.values);
        let vectors = whole.then_some(Vectors {
            dimensions: self.request.dimensions,
            values,
        });
        let now = Instant::now();
        let started = self.started.unwrap_or(now);
        let queued = started.saturating_duration_since(self.request.submitted);
        Event {
            request: self.request.id,
            text: String::new(),
            pieces: Vec::new(),
            tokens: 0,
            logprobs: Vec::new(),
            prompt_logprobs: Vec::new(),
            vectors,
            ending: Some(Ending {
                reason,
                stop_string: None,
                prompt_tokens: self.request.texts.iter().map(Vec::len).sum(),
                completion_tokens: 0,
                reasoning_tokens: 0,
                cached_tokens: 0,
                queue_seconds: queued.as_secs_f64(),
                prefill_seconds: now.saturating_duration_since(started).as_secs_f64(),
                decode_seconds: 0.0,
            }),
        }
    }
}
