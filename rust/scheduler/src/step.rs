//! What one forward pass computes.

use crate::SequenceId;

/// A ragged batch: decodes and prefill chunks together, the oldest sequence first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// At most one entry a sequence.
    pub work: Vec<Work>,
}

/// The tokens that one sequence computes in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// Whose tokens they are.
    pub id: SequenceId,
    /// Position of the first.
    pub start: usize,
    /// Never empty; at consecutive positions.
    pub tokens: Vec<u32>,
    /// Tokens that are known of the whole sequence.
    pub length: usize,
    /// The block table from position 0 to the last of the tokens.
    pub blocks: Vec<u32>,
    /// Whether the last of them is the last that is known, so that the next is to be sampled and committed.
    pub sample: bool,
}
