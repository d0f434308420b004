//! cortex-bindings: the engine as the Python module `cortex._native`; see `_native.pyi` for its surface.

mod engine;
mod errors;
mod events;
mod facts;
mod grammar;
mod loader;
mod outside;
mod parsing;
mod prompt;

use pyo3::prelude::*;

/// The module.
#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use crate::engine::Engine;
    #[pymodule_export]
    use crate::events::{Ending, Event};
    #[pymodule_export]
    use crate::facts::{build_info, inspect, measure_machine};
    #[pymodule_export]
    use crate::grammar::Grammar;
    #[pymodule_export]
    use crate::loader::Loader;
    #[pymodule_export]
    use crate::prompt::Prompt;
    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        crate::set_all(module)
    }
}

/// What the module exports, as its stub says.
fn set_all(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let names = [
        "Ending",
        "Engine",
        "Event",
        "Grammar",
        "Loader",
        "Prompt",
        "build_info",
        "inspect",
        "measure_machine",
    ];
    module.setattr("__all__", names)
}
