//! The Jinja environment of Hugging Face transformers.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind};

use super::{printing, python_json};
use crate::TextError;

/// The name of the only template.
pub(super) const NAME: &str = "chat_template";
/// Steps that a template may take: far more than the longest conversation needs, less than a second of work.
const FUEL: u64 = 20_000_000;
const RECURSION_LIMIT: usize = 200;

/// An environment with one template.
pub(super) fn environment(source: &str) -> Result<Environment<'static>, TextError> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    environment.set_syntax(syntax.map_err(|error| TextError::InvalidTemplate(error.to_string()))?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION_LIMIT);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_formatter(printing::print);
    environment.add_filter("string", |value: &Value| printing::text(value));
    environment.add_filter("tojson", to_json);
    environment.add_filter("indent", indent);
    environment.add_function("raise_exception", raise_exception);
    // As Jinja2 has them: strings and mappings have a length and items, too, and none has not.
    environment.add_test("sequence", |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::Seq | ValueKind::String | ValueKind::Map
        )
    });
    environment.add_test("iterable", |value: &Value| {
        !value.is_none() && value.try_iter().is_ok()
    });
    let source = without_generation_tags(source);
    let added = environment.add_template_owned(NAME, source);
    added.map_err(|error| TextError::InvalidTemplate(explain(&error)))?;
    Ok(environment)
}

/// What a person needs of an error: the template's own words, or what went wrong and where.
pub(super) fn explain(error: &Error) -> String {
    let detail = error.detail().unwrap_or_default();
    if let Some(own) = detail.strip_prefix(RAISED) {
        return own.to_owned();
    }
    let line = error
        .line()
        .map(|line| format!(" (line {line})"))
        .unwrap_or_default();
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    let kind = error.kind();
    let between = if detail.is_empty() { "" } else { ": " };
    format!("{kind}{between}{detail}{}{line}", cause.unwrap_or_default())
}

/// Tells the template's own errors from others.
const RAISED: &str = "raised: ";

fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(Error::new(
        ErrorKind::InvalidOperation,
        format!("{RAISED}{message}"),
    ))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of a filter")]
fn to_json(value: &Value, indent: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let indent = indent.or(options.get::<Option<Value>>("indent")?);
    let separators = options.get::<Option<Value>>("separators")?;
    let style = python_json::Style {
        indent: indent
            .filter(|indent| !indent.is_none())
            .as_ref()
            .map(indentation)
            .transpose()?,
        separators: separators
            .filter(|pair| !pair.is_none())
            .as_ref()
            .map(pair)
            .transpose()?,
        ascii: options
            .get::<Option<bool>>("ensure_ascii")?
            .unwrap_or(false),
        sorted: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    options.assert_all_used()?;
    python_json::dumps(value, &style).map(Value::from)
}

/// Indent every line but the first and, if not asked for, empty ones; a newline at the end stays.
#[expect(clippy::needless_pass_by_value, reason = "the shape of a filter")]
fn indent(
    text: &str,
    width: Option<Value>,
    first: Option<bool>,
    blank: Option<bool>,
    options: Kwargs,
) -> Result<String, Error> {
    let width = width.or(options.get::<Option<Value>>("width")?);
    let width = width.as_ref().map_or(Ok("    ".to_owned()), indentation)?;
    let first = first.or(options.get("first")?).unwrap_or(false);
    let blank = blank.or(options.get("blank")?).unwrap_or(false);
    options.assert_all_used()?;
    let mut output = String::new();
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            output.push('\n');
        }
        let skipped = if number == 0 {
            !first
        } else {
            line.is_empty() && !blank
        };
        if !skipped {
            output.push_str(&width);
        }
        output.push_str(line);
    }
    Ok(output)
}

fn indentation(value: &Value) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.to_owned());
    }
    let width = value.as_usize().filter(|&width| width <= 64);
    let width = width.ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidOperation,
            "an indent is a text or a number up to 64",
        )
    })?;
    Ok(" ".repeat(width))
}

fn pair(value: &Value) -> Result<(String, String), Error> {
    let item = |index| value.get_item_by_index(index).map(|item| item.to_string());
    Ok((item(0)?, item(1)?))
}

/// `{% generation %}` marks what a model trains on; for rendering it is a block like any other.
fn without_generation_tags(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        text.push_str(before);
        let Some(end) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(end);
        let inner = tag[2..]
            .trim_start_matches(['-', '+'])
            .trim_end_matches(['-', '+'])
            .trim();
        match inner {
            "generation" => text.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => text.push_str(&tag.replace("endgeneration", "endif")),
            _ => text.push_str(tag),
        }
        rest = after;
    }
    text.push_str(rest);
    text
}
