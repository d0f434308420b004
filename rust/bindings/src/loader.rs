//! One load of one model.

use std::path::PathBuf;

use cortex_engine::LoadOptions;
use pyo3::prelude::*;

use crate::engine::Engine;
use crate::outside::outside;

/// `run` blocks without the interpreter; `progress` and `cancel` may be called from other threads.
#[pyclass(frozen, module = "cortex._native")]
pub(crate) struct Loader {
    inner: cortex_engine::Loader,
}

#[pymethods]
impl Loader {
    #[new]
    #[pyo3(signature = (path, *, context_length=None, max_sequences=16, max_waiting=256, kv_bytes=None, threads=None,
        step_tokens=None, chat_template=None, quant=None))]
    #[expect(
        clippy::too_many_arguments,
        reason = "keyword arguments of one Python constructor"
    )]
    fn new(
        path: PathBuf,
        context_length: Option<usize>,
        max_sequences: usize,
        max_waiting: usize,
        kv_bytes: Option<u64>,
        threads: Option<usize>,
        step_tokens: Option<usize>,
        chat_template: Option<String>,
        quant: Option<String>,
    ) -> Self {
        let options = LoadOptions {
            path,
            context_length,
            max_sequences,
            max_waiting,
            kv_bytes,
            threads,
            step_tokens,
            chat_template,
            quant,
        };
        Self {
            inner: cortex_engine::Loader::new(options),
        }
    }

    fn run(&self, py: Python<'_>) -> PyResult<Engine> {
        let engine = outside(py, || self.inner.run())?;
        Ok(Engine { inner: engine })
    }

    fn progress(&self) -> (&'static str, u64, u64) {
        let progress = self.inner.progress();
        (
            progress.stage.name(),
            progress.done_bytes,
            progress.total_bytes,
        )
    }

    fn cancel(&self) {
        self.inner.cancel();
    }
}
