//! Memory that calls reuse.

use crate::matmul::Activations;

/// Buffers that grow to the largest call and stay; one for each thread that calls.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Quantised activations.
    pub(crate) activations: Activations,
}
