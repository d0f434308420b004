//! The Jinja environment of Hugging Face transformers.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind};

use super::{filters, methods, printing};
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
    environment.set_unknown_method_callback(methods::call);
    environment.set_formatter(printing::print);
    add_filters(&mut environment);
    environment.add_function("raise_exception", raise_exception);
    // As Jinja2 has them: strings, mappings and what is undefined have a length and items, too, and none has not.
    environment.add_test("sequence", |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::Seq | ValueKind::String | ValueKind::Map | ValueKind::Undefined
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

fn add_filters(environment: &mut Environment<'static>) {
    environment.add_filter("string", filters::string);
    environment.add_filter("tojson", filters::to_json);
    environment.add_filter("indent", filters::indent);
    environment.add_filter("default", filters::default);
    environment.add_filter("d", filters::default);
    environment.add_filter("int", filters::int);
    environment.add_filter("float", filters::float);
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
