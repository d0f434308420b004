//! A grammar as a request states it, and how it becomes one that the library compiles.

use llguidance::api::TopLevelGrammar;
use serde_json::{Value, json};

use super::nesting::depth;

/// Largest text of a grammar in bytes, and its deepest nesting.
const MAX_BYTES: usize = 256 * 1024;
const MAX_DEPTH: usize = 100;
/// Most alternatives of a choice.
const MAX_CHOICES: usize = 10_000;
/// Between two parts of a JSON text. Without a bound, a small model may indent for ever.
const JSON_SPACE: &str = r"[ \t\r\n]{1,40}";

/// What an answer must look like.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Grammar {
    /// A JSON value that a schema describes; the text is the schema.
    JsonSchema(String),
    /// A text that the whole regular expression matches, in the syntax of Rust's `regex`.
    Regex(String),
    /// One of these texts.
    Choice(Vec<String>),
    /// A Lark grammar; its rule `start` describes the whole answer.
    Lark(String),
}

impl Grammar {
    /// Any JSON object.
    pub fn json_object() -> Self {
        Self::JsonSchema(r#"{"type":"object"}"#.to_owned())
    }

    /// What the compiler takes.
    ///
    /// # Errors
    /// Why it is none, in words for the author of the grammar.
    pub(super) fn prepare(&self) -> Result<TopLevelGrammar, String> {
        self.check_size()?;
        match self {
            Self::JsonSchema(schema) => schema_grammar(schema),
            Self::Regex(regex) => Ok(TopLevelGrammar::from_regex(regex)),
            Self::Choice(choices) => choice_grammar(choices),
            Self::Lark(lark) => Ok(TopLevelGrammar::from_lark(lark.clone())),
        }
    }

    fn check_size(&self) -> Result<(), String> {
        let (bytes, nesting) = match self {
            Self::JsonSchema(text) => (text.len(), 0), // the JSON reader has its own limit
            Self::Regex(text) | Self::Lark(text) => (text.len(), depth(text)),
            Self::Choice(choices) => (choices.iter().map(String::len).sum(), 0),
        };
        if bytes > MAX_BYTES {
            return Err(format!(
                "it has {bytes} bytes; at most {MAX_BYTES} are taken"
            ));
        }
        if nesting > MAX_DEPTH {
            return Err(format!(
                "it nests {nesting} deep; at most {MAX_DEPTH} are taken"
            ));
        }
        Ok(())
    }
}

fn schema_grammar(schema: &str) -> Result<TopLevelGrammar, String> {
    let mut schema: Value =
        serde_json::from_str(schema).map_err(|error| format!("the schema is not JSON: {error}"))?;
    match &mut schema {
        Value::Object(keys) => {
            keys.entry("x-guidance")
                .or_insert_with(|| json!({"whitespace_pattern": JSON_SPACE}));
        }
        Value::Bool(true) => schema = json!({"x-guidance": {"whitespace_pattern": JSON_SPACE}}),
        Value::Bool(false) => return Err("the schema `false` allows nothing".to_owned()),
        _ => return Err("a schema is an object or a boolean".to_owned()),
    }
    Ok(TopLevelGrammar::from_json_schema(schema))
}

fn choice_grammar(choices: &[String]) -> Result<TopLevelGrammar, String> {
    if choices.is_empty() {
        return Err("a choice needs at least one text".to_owned());
    }
    if choices.len() > MAX_CHOICES {
        let count = choices.len();
        return Err(format!(
            "it has {count} texts; at most {MAX_CHOICES} are taken"
        ));
    }
    if choices.iter().any(String::is_empty) {
        return Err("a choice must not be empty".to_owned());
    }
    let quoted: Vec<String> = choices
        .iter()
        .map(|text| Value::from(text.as_str()).to_string())
        .collect();
    Ok(TopLevelGrammar::from_lark(format!(
        "start: {}",
        quoted.join(" | ")
    )))
}
