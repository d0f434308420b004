//! Memory that calls reuse.

/// Buffers that grow to the largest call and stay; one for each thread that calls.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Quantised activations.
    pub(crate) activations: Vec<u32>,
    /// Partial results of attention.
    pub(crate) partials: Vec<f32>,
}
