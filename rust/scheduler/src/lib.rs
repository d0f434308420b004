//! Which sequences compute which tokens in which KV blocks: continuous batching over a paged, prefix-cached pool.
//!
//! It decides on token and block counts only; tensors, sampling and time are its caller's. One turn is
//! [`Scheduler::schedule`], the forward pass over its work, [`Scheduler::commit`] for each work that samples, and
//! [`Scheduler::finish`] for each sequence that has ended.

mod block_pool;
mod error;
mod limits;
mod prefix_cache;
mod scheduler;
mod sequence;
mod stats;
mod step;

pub use error::SchedulerError;
pub use limits::Limits;
pub use scheduler::Scheduler;
pub use sequence::{NewSequence, SequenceId};
pub use stats::Stats;
pub use step::{Step, Work};
