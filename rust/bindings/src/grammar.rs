//! A compiled grammar, for `submit`.

use cortex_engine::CompiledGrammar;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Ready for the engine that made it.
#[pyclass(frozen, module = "cortex._native")]
pub(crate) struct Grammar {
    pub inner: CompiledGrammar,
}

/// The grammar of a kind; a choice has its texts as a JSON list.
pub(crate) fn source(kind: &str, text: String) -> PyResult<cortex_engine::Grammar> {
    match kind {
        "json_schema" => Ok(cortex_engine::Grammar::JsonSchema(text)),
        "regex" => Ok(cortex_engine::Grammar::Regex(text)),
        "choice" => {
            let texts = serde_json::from_str(&text);
            let texts = texts.map_err(|error| PyValueError::new_err(format!("choice: {error}")))?;
            Ok(cortex_engine::Grammar::Choice(texts))
        }
        "lark" => Ok(cortex_engine::Grammar::Lark(text)),
        other => Err(PyValueError::new_err(format!(
            "no kind of grammar: {other:?}"
        ))),
    }
}
