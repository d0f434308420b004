//! Facts about the build and about model files, as JSON.

use std::path::PathBuf;

use pyo3::prelude::*;
use serde_json::json;

use crate::outside::outside;

/// What the extension was built from and for.
#[pyfunction]
pub(crate) fn build_info() -> String {
    let features: [&str; 0] = [];
    let mut architectures = cortex_engine::model::architectures();
    architectures.extend(cortex_engine::encoder::encoder_architectures());
    json!({
        "package_version": env!("CARGO_PKG_VERSION"),
        "candle_version": cortex_engine::CANDLE_VERSION,
        "rustc_version": env!("CORTEX_RUSTC"),
        "profile": env!("CORTEX_PROFILE"),
        "target": env!("CORTEX_TARGET"),
        "features": features,
        "simd": cortex_kernels::simd_level().name(),
        "architectures": architectures,
    })
    .to_string()
}

/// What a model file is and needs, from its header alone.
#[pyfunction]
#[pyo3(signature = (path, *, context_length=None, max_sequences=1, quant=None))]
#[expect(clippy::needless_pass_by_value, reason = "what a Python path becomes")]
pub(crate) fn inspect(
    py: Python<'_>,
    path: PathBuf,
    context_length: Option<usize>,
    max_sequences: usize,
    quant: Option<String>,
) -> PyResult<String> {
    let read = outside(py, || {
        cortex_engine::inspect(&path, context_length, max_sequences, quant.as_deref())
    })?;
    let estimate = read.estimate;
    let facts = json!({
        "architecture": read.architecture,
        "name": read.name,
        "quantisation": read.quantisation,
        "kind": read.kind.name(),
        "dimensions": read.dimensions,
        "layers": read.layers,
        "hidden": read.hidden,
        "vocab": read.vocab,
        "context_length": read.context_length,
        "weights_bytes": estimate.weights_bytes,
        "kv_bytes_per_token": estimate.kv_bytes_per_token,
        "kv_bytes": estimate.kv_bytes,
        "state_bytes": estimate.state_bytes,
        "work_bytes": estimate.work_bytes,
        "total_bytes": estimate.total_bytes,
        "has_chat_template": read.has_chat_template,
    });
    Ok(facts.to_string())
}

/// What the machine can do at best with so many threads.
#[pyfunction]
#[pyo3(signature = (threads=None))]
pub(crate) fn measure_machine(py: Python<'_>, threads: Option<usize>) -> PyResult<String> {
    let machine = outside(py, || cortex_engine::measure_machine(threads))?;
    let facts = json!({
        "threads": machine.threads,
        "simd": machine.level.name(),
        "bytes_per_second": machine.bytes_per_second,
        "multiply_adds_per_second": machine.multiply_adds_per_second,
    });
    Ok(facts.to_string())
}
