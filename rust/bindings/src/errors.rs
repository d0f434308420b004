//! Errors of the engine as the classes of `cortex.errors`.

use cortex_engine::EngineError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The exception for an error; the error of making it if that fails.
pub(crate) fn raise(py: Python<'_>, error: &EngineError) -> PyErr {
    exception(py, error).unwrap_or_else(|failure| failure)
}

fn exception(py: Python<'_>, error: &EngineError) -> PyResult<PyErr> {
    let class = py.import("cortex.errors")?.getattr(class_name(error))?;
    let arguments = PyDict::new(py);
    let extras = PyDict::new(py);
    match error {
        EngineError::InvalidField { field, .. } => arguments.set_item("param", field)?,
        EngineError::ContextLengthExceeded {
            prompt_tokens,
            max_tokens,
            limit,
        } => {
            extras.set_item("prompt_tokens", prompt_tokens)?;
            extras.set_item("max_tokens", max_tokens)?;
            extras.set_item("limit", limit)?;
        }
        EngineError::PromptTooLong { fewest, limit } => {
            extras.set_item("prompt_tokens", fewest)?;
            extras.set_item("limit", limit)?;
        }
        EngineError::InputTooLong {
            input,
            tokens,
            limit,
        } => {
            arguments.set_item("param", "input")?;
            extras.set_item("input", input)?;
            extras.set_item("prompt_tokens", tokens)?;
            extras.set_item("limit", limit)?;
        }
        EngineError::WrongKind(_) => arguments.set_item("param", "model")?,
        EngineError::QueueFull { waiting, limit } => {
            extras.set_item("waiting", waiting)?;
            extras.set_item("limit", limit)?;
        }
        _ => {}
    }
    arguments.set_item("extras", extras)?;
    let exception = class.call((error.to_string(),), Some(&arguments))?;
    Ok(PyErr::from_value(exception))
}

fn class_name(error: &EngineError) -> &'static str {
    match error {
        EngineError::SourceNotFound(_) => "SourceNotFound",
        EngineError::ModelFileInvalid(_) => "ModelFileInvalid",
        EngineError::UnsupportedModel(_) => "UnsupportedModel",
        EngineError::TemplateFailed(_) => "TemplateFailed",
        EngineError::InvalidField { .. } | EngineError::WrongKind(_) => "InvalidField",
        EngineError::ContextLengthExceeded { .. }
        | EngineError::PromptTooLong { .. }
        | EngineError::InputTooLong { .. } => "ContextLengthExceeded",
        EngineError::QueueFull { .. } => "QueueFull",
        EngineError::LoadCancelled => "LoadError",
        EngineError::EngineFailed(_) => "EngineFailed",
    }
}
