//! Work outside the interpreter: without its lock, and without a panic coming back across the border.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use cortex_engine::EngineError;
use pyo3::prelude::*;

use crate::errors::raise;

/// Runs `work` with the interpreter let go. Its error becomes a class of `cortex.errors`; a panic, `EngineFailed`.
pub(crate) fn outside<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, EngineError> + Send,
) -> PyResult<T> {
    py.detach(|| caught(work))
        .map_err(|error| raise(py, &error))
}

fn caught<T>(work: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    // Unwind safe: the engine's locks tolerate poison, and nothing else here outlives the call.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic_text(panic.as_ref());
        Err(EngineError::EngineFailed(format!("panic: {text}")))
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_engine_failure_with_its_text() {
        let outcome = caught::<()>(|| panic!("layer {} is gone", 3));
        assert!(
            matches!(outcome, Err(EngineError::EngineFailed(text)) if text == "panic: layer 3 is gone")
        );
    }

    #[test]
    fn a_result_passes_unchanged() {
        assert!(matches!(caught(|| Ok(7)), Ok(7)));
    }
}
