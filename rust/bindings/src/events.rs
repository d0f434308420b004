//! What the engine says, as Python objects.

use cortex_engine::{Engine, FinishReason, TokenLogprob};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde_json::{Value, json};

use crate::parsing::{Part, part};

/// How one request ended.
#[pyclass(frozen, module = "cortex._native")]
pub(crate) struct Ending {
    inner: cortex_engine::Ending,
}

#[pymethods]
impl Ending {
    #[getter]
    fn reason(&self) -> &'static str {
        match self.inner.reason {
            FinishReason::Stop => "stop",
            FinishReason::ToolCalls => "tool_calls",
            FinishReason::Length => "length",
            FinishReason::Cancelled => "cancelled",
            FinishReason::Error(_) => "error",
        }
    }

    #[getter]
    fn error(&self) -> Option<&str> {
        match &self.inner.reason {
            FinishReason::Error(text) => Some(text),
            _ => None,
        }
    }

    #[getter]
    fn stop_string(&self) -> Option<&str> {
        self.inner.stop_string.as_deref()
    }

    #[getter]
    fn prompt_tokens(&self) -> usize {
        self.inner.prompt_tokens
    }

    #[getter]
    fn completion_tokens(&self) -> usize {
        self.inner.completion_tokens
    }

    #[getter]
    fn reasoning_tokens(&self) -> usize {
        self.inner.reasoning_tokens
    }

    #[getter]
    fn cached_tokens(&self) -> usize {
        self.inner.cached_tokens
    }

    #[getter]
    fn queue_seconds(&self) -> f64 {
        self.inner.queue_seconds
    }

    #[getter]
    fn prefill_seconds(&self) -> f64 {
        self.inner.prefill_seconds
    }

    #[getter]
    fn decode_seconds(&self) -> f64 {
        self.inner.decode_seconds
    }
}

/// What one engine step made for one request.
#[pyclass(frozen, module = "cortex._native")]
pub(crate) struct Event {
    #[pyo3(get)]
    request: u64,
    #[pyo3(get)]
    text: String,
    #[pyo3(get)]
    pieces: Vec<Part>,
    #[pyo3(get)]
    tokens: u32,
    #[pyo3(get)]
    logprobs: Option<String>,
    #[pyo3(get)]
    prompt_logprobs: Option<String>,
    vectors: Option<Py<PyBytes>>,
    ending: Option<Py<Ending>>,
}

/// Values as four bytes each, little endian.
fn packed(py: Python<'_>, values: &[f32]) -> PyResult<Py<PyBytes>> {
    let bytes = PyBytes::new_with(py, 4 * values.len(), |bytes| {
        for (place, value) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(values) {
            *place = value.to_le_bytes();
        }
        Ok(())
    });
    bytes.map(Bound::unbind)
}

impl Event {
    pub fn new(py: Python<'_>, event: cortex_engine::Event, engine: &Engine) -> PyResult<Self> {
        let vectors = event.vectors.map(|vectors| packed(py, &vectors.values));
        let ending = event.ending.map(|inner| Py::new(py, Ending { inner }));
        Ok(Self {
            request: event.request,
            text: event.text,
            pieces: event.pieces.into_iter().map(part).collect(),
            tokens: event.tokens,
            logprobs: logprobs(engine, &event.logprobs),
            prompt_logprobs: logprobs(engine, &event.prompt_logprobs),
            vectors: vectors.transpose()?,
            ending: ending.transpose()?,
        })
    }
}

#[pymethods]
impl Event {
    #[getter]
    fn vectors(&self, py: Python<'_>) -> Option<Py<PyBytes>> {
        self.vectors.as_ref().map(|vectors| vectors.clone_ref(py))
    }

    #[getter]
    fn ending(&self, py: Python<'_>) -> Option<Py<Ending>> {
        self.ending.as_ref().map(|ending| ending.clone_ref(py))
    }
}

/// As a JSON list; nothing for an empty one.
fn logprobs(engine: &Engine, tokens: &[TokenLogprob]) -> Option<String> {
    if tokens.is_empty() {
        return None;
    }
    let tokens = tokens.iter().map(|one| {
        let mut entry = logprob(engine, one.token, one.logprob);
        let top = one.top.iter();
        let top = top.map(|&(token, value)| logprob(engine, token, Some(value)));
        entry["top_logprobs"] = top.collect();
        entry
    });
    Some(tokens.collect::<Value>().to_string())
}

fn logprob(engine: &Engine, token: u32, logprob: Option<f32>) -> Value {
    let (text, bytes) = engine.token(token);
    json!({"token": text, "logprob": logprob, "bytes": bytes})
}
