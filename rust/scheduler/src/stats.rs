//! Counters of the scheduler.

/// The state right now, and counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sequences that hold KV blocks.
    pub running: usize,
    /// Sequences that hold none.
    pub waiting: usize,
    /// KV blocks of running sequences; a shared one counts once.
    pub blocks_used: usize,
    /// KV blocks kept for prefix hits only.
    pub blocks_cached: usize,
    /// KV blocks of the pool.
    pub blocks_total: usize,
    /// Sequences that lost their blocks to older ones.
    pub preemptions: u64,
    /// Prompt tokens looked up in the prefix cache, at a sequence's first admission.
    pub prefix_queries: u64,
    /// Prompt tokens found there.
    pub prefix_hits: u64,
}
