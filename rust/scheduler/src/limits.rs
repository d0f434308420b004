//! What the scheduler may hand out.

use crate::SchedulerError;

/// Sizes that hold for the scheduler's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tokens of one KV block.
    pub block_size: usize,
    /// KV blocks of the pool.
    pub blocks: usize,
    /// Most tokens of one step; at least `max_running`, so that every decode finds its place.
    pub step_tokens: usize,
    /// Most sequences that hold blocks at once.
    pub max_running: usize,
    /// Most sequences that wait when another is added; preempted ones come on top.
    pub max_waiting: usize,
    /// Most tokens of one sequence, prompt and generated.
    pub max_context: usize,
    /// The KV of a sequence of more tokens than this is different from the first token on, so it is computed again
    /// when a sequence grows beyond.
    pub short_context: Option<usize>,
    /// What is computed of a sequence is all in its blocks, so that others that begin like it may share them.
    pub shares_prefixes: bool,
}

impl Limits {
    /// Refuse what could never make progress.
    pub(crate) fn check(&self) -> Result<(), SchedulerError> {
        let positive = [
            ("block_size", self.block_size),
            ("blocks", self.blocks),
            ("max_running", self.max_running),
            ("max_waiting", self.max_waiting),
            ("max_context", self.max_context),
        ];
        for (field, value) in positive {
            if value == 0 {
                return Err(refusal(field, value, "at least 1".to_owned()));
            }
        }
        if u32::try_from(self.blocks).is_err() {
            let rule = format!("at most {}", u32::MAX);
            return Err(refusal("blocks", self.blocks, rule));
        }
        if self.step_tokens < self.max_running {
            let rule = format!("at least max_running, which is {}", self.max_running);
            return Err(refusal("step_tokens", self.step_tokens, rule));
        }
        Ok(())
    }

    /// Tokens that the pool holds.
    pub(crate) fn pool_tokens(&self) -> usize {
        self.blocks.saturating_mul(self.block_size)
    }
}

fn refusal(field: &'static str, value: usize, rule: String) -> SchedulerError {
    SchedulerError::Limit { field, value, rule }
}
