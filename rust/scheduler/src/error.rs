//! Why limits or a sequence are refused.

/// Every failure of this crate; none leaves a trace in the scheduler.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchedulerError {
    /// A limit cannot be worked with.
    #[error("{field} is {value}; it must be {rule}")]
    Limit {
        /// Name of the limit.
        field: &'static str,
        /// What was given.
        value: usize,
        /// What would do.
        rule: String,
    },
    /// There is nothing to compute.
    #[error("the prompt is empty; it must have at least one token")]
    EmptyPrompt,
    /// There is nothing to generate.
    #[error("max_new_tokens is 0; it must be at least 1")]
    NothingToGenerate,
    /// The sequence may grow over the context.
    #[error(
        "{prompt} prompt tokens and {max_new} new ones exceed the context of {max_context} tokens; \
         shorten the prompt or ask for fewer"
    )]
    ExceedsContext {
        /// Tokens of the prompt.
        prompt: usize,
        /// Most tokens to generate.
        max_new: usize,
        /// Most tokens of a sequence.
        max_context: usize,
    },
    /// The sequence may grow over the whole KV pool.
    #[error(
        "{prompt} prompt tokens and {max_new} new ones exceed the KV pool of {pool} tokens; \
         shorten the prompt, ask for fewer, or give the pool more memory"
    )]
    ExceedsPool {
        /// Tokens of the prompt.
        prompt: usize,
        /// Most tokens to generate.
        max_new: usize,
        /// Tokens that the pool holds.
        pool: usize,
    },
    /// The queue is full.
    #[error("{waiting} sequences wait already, the most that may; try again later")]
    QueueFull {
        /// Sequences in the queue.
        waiting: usize,
    },
    /// The id belongs to a sequence that has not ended.
    #[error("sequence {0} exists already")]
    Duplicate(u64),
}
