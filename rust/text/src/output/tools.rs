//! The tools of a request, as far as reading calls needs them.

use serde_json::Value;

use super::wire::Wire;

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSpec {
    /// Its name.
    pub name: String,
    /// A JSON schema of its arguments.
    pub parameters: Value,
}

/// All of them, and whether an answer may have several calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tools {
    /// None: the answer is not searched for calls.
    pub specs: Vec<ToolSpec>,
    /// The answer ends with its first call.
    pub single: bool,
    /// A grammar makes the answer one call as a bare JSON object, whatever the model's own format is.
    pub forced: bool,
}

impl Tools {
    pub(super) fn has(&self, name: &str) -> bool {
        self.specs.iter().any(|tool| tool.name == name)
    }

    /// Whether no further call is wanted.
    pub(super) fn enough(&self, wire: &Wire) -> bool {
        self.single && wire.call_count() > 0
    }

    /// The schema of one argument.
    pub(super) fn schema(&self, name: &str, argument: &str) -> Option<&Value> {
        let tool = self.specs.iter().find(|tool| tool.name == name)?;
        tool.parameters.get("properties")?.get(argument)
    }
}
