//! Arguments that are written as plain text, as the JSON that the tool's schema asks for.

use serde_json::Value;

use super::json::{is_number, quoted};
use super::literal;

/// Deepest chain of alternatives in a schema.
const MAX_DEPTH: usize = 8;

/// Whether every text is a value of this schema as it stands, so that it need not be complete to be passed on.
pub(super) fn is_text(schema: Option<&Value>) -> bool {
    let mut kinds = Vec::new();
    schema.is_some_and(|schema| collect(schema, 0, &mut kinds)) && kinds == ["string"]
}

/// The JSON of a text: of a kind that the schema allows if there is one, otherwise of the kind that it looks like.
pub(super) fn json(text: &str, schema: Option<&Value>) -> String {
    let mut kinds = Vec::new();
    let told = schema.is_some_and(|schema| collect(schema, 0, &mut kinds));
    let Some(value) = read(text.trim()) else {
        return quoted(text);
    };
    let fits = !told || kinds.iter().any(|kind| fits(kind, &value));
    if fits || !kinds.contains(&"string") {
        return value;
    }
    quoted(text)
}

/// JSON, or a literal of Python, as JSON.
fn read(text: &str) -> Option<String> {
    if is_number(text) {
        return Some(text.to_owned());
    }
    match serde_json::from_str::<Value>(text) {
        // A text in quotes is not less a text.
        Ok(Value::String(_)) => None,
        Ok(_) => Some(text.to_owned()),
        Err(_) => literal::whole(text).filter(|value| !value.starts_with('"')),
    }
}

fn fits(kind: &str, value: &str) -> bool {
    match value.as_bytes().first() {
        Some(b'{') => kind == "object",
        Some(b'[') => kind == "array",
        Some(b't' | b'f') => kind == "boolean",
        Some(b'n') => kind == "null",
        _ => kind == "number" || kind == "integer" && !value.contains(['.', 'e', 'E']),
    }
}

/// The kinds that a schema allows; false if it does not say.
fn collect<'s>(schema: &'s Value, depth: usize, kinds: &mut Vec<&'s str>) -> bool {
    if depth > MAX_DEPTH {
        return false;
    }
    match &schema["type"] {
        Value::String(kind) => {
            kinds.push(kind);
            return true;
        }
        Value::Array(all) => {
            kinds.extend(all.iter().filter_map(Value::as_str));
            return true;
        }
        _ => {}
    }
    for key in ["anyOf", "oneOf"] {
        if let Value::Array(choices) = &schema[key] {
            return choices
                .iter()
                .all(|choice| collect(choice, depth + 1, kinds));
        }
    }
    if let Value::Array(values) = &schema["enum"] {
        kinds.extend(values.iter().map(|value| kind(value)));
        return true;
    }
    match schema.get("const") {
        Some(value) => {
            kinds.push(kind(value));
            true
        }
        None => false,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
