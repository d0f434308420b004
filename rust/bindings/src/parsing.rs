//! How an answer is to be taken apart, and its parts, as Python has them.

use cortex_engine::{Piece, ToolSpec, Tools};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use serde_json::Value;

/// From JSON: `{"tools": [{"name": …, "parameters": …}], "single": false, "forced": false}`.
pub(crate) fn tools(json: &[u8]) -> PyResult<Tools> {
    let told: Value = serde_json::from_slice(json)
        .map_err(|error| PyValueError::new_err(format!("parsing: {error}")))?;
    let specs = told["tools"].as_array().into_iter().flatten().map(|tool| {
        let name = tool["name"].as_str();
        let name = name.ok_or_else(|| PyValueError::new_err("parsing: a tool without a name"))?;
        Ok(ToolSpec {
            name: name.to_owned(),
            parameters: tool["parameters"].clone(),
        })
    });
    Ok(Tools {
        specs: specs.collect::<PyResult<_>>()?,
        single: told["single"] == Value::Bool(true),
        forced: told["forced"] == Value::Bool(true),
    })
}

/// The kind of a part, the call it belongs to, and its text.
pub(crate) type Part = (&'static str, Option<usize>, String);

/// A part as a tuple.
pub(crate) fn part(piece: Piece) -> Part {
    match piece {
        Piece::Text(text) => ("text", None, text),
        Piece::Reasoning(text) => ("reasoning", None, text),
        Piece::Call { index, name } => ("call", Some(index), name),
        Piece::Arguments { index, text } => ("arguments", Some(index), text),
    }
}
