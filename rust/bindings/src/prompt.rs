//! Token ids that stay on this side.

use pyo3::prelude::*;

/// The tokens of a prompt.
#[pyclass(frozen, module = "cortex._native")]
pub(crate) struct Prompt {
    pub tokens: Vec<u32>,
}

#[pymethods]
impl Prompt {
    #[new]
    fn new(tokens: Vec<u32>) -> Self {
        Self { tokens }
    }

    fn __len__(&self) -> usize {
        self.tokens.len()
    }

    fn tokens(&self) -> Vec<u32> {
        self.tokens.clone()
    }
}
