//! Timings: the distributions that an engine's thread measures, at its steps.

use crate::{Ending, Histogram};

const WAITS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0,
    160.0, 320.0, 640.0,
];
const STEPS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3,
    0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
];
const SEQUENCES: &[f64] = &[
    1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 128.0, 256.0,
];
const TOKENS: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0,
];

/// Times are seconds. A request that ends before it has a token counts where it came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timings {
    /// From submit to the first token.
    pub time_to_first_token: Histogram,
    /// From a token to the next of the same sequence.
    pub inter_token: Histogram,
    /// From submit to the first step that works on a request.
    pub queue: Histogram,
    /// From there to the first token.
    pub prefill: Histogram,
    /// From the first token to the last, of requests that ended.
    pub decode: Histogram,
    /// One step: plan, forward pass, sampling.
    pub step: Histogram,
    /// Sequences (or texts to embed) in a step.
    pub step_sequences: Histogram,
    /// Tokens computed in a step.
    pub step_tokens: Histogram,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            time_to_first_token: Histogram::new(WAITS),
            inter_token: Histogram::new(STEPS),
            queue: Histogram::new(WAITS),
            prefill: Histogram::new(WAITS),
            decode: Histogram::new(WAITS),
            step: Histogram::new(STEPS),
            step_sequences: Histogram::new(SEQUENCES),
            step_tokens: Histogram::new(TOKENS),
        }
    }
}

impl Timings {
    /// Each by its name, as metrics have it.
    pub fn named(&self) -> [(&'static str, &Histogram); 8] {
        [
            ("time_to_first_token_seconds", &self.time_to_first_token),
            ("inter_token_seconds", &self.inter_token),
            ("queue_seconds", &self.queue),
            ("prefill_seconds", &self.prefill),
            ("decode_seconds", &self.decode),
            ("step_seconds", &self.step),
            ("step_sequences", &self.step_sequences),
            ("step_tokens", &self.step_tokens),
        ]
    }

    /// A step was completed.
    pub(crate) fn step(&mut self, seconds: f64, sequences: usize, tokens: usize) {
        self.step.observe(seconds);
        self.step_sequences.observe(sequences as f64);
        self.step_tokens.observe(tokens as f64);
    }

    /// A request ended.
    pub(crate) fn ended(&mut self, ending: &Ending) {
        if ending.completion_tokens > 0 {
            self.decode.observe(ending.decode_seconds);
        }
    }
}
