//! The Jinja environment of Hugging Face transformers.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind};

use super::operators::{REMAINDER, remainder};
use super::{filters, globals, methods, printing, rewriting, text_filters};
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
    add_functions(&mut environment);
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
    let added = environment.add_template_owned(NAME, rewriting::rewrite(source));
    added.map_err(|error| TextError::InvalidTemplate(explain(&error)))?;
    Ok(environment)
}

fn add_filters(environment: &mut Environment<'static>) {
    environment.add_filter("string", filters::string);
    environment.add_filter("tojson", filters::to_json);
    environment.add_filter("default", filters::default);
    environment.add_filter("d", filters::default);
    environment.add_filter("int", filters::int);
    environment.add_filter("float", filters::float);
    environment.add_filter("sort", filters::sort);
    environment.add_filter("min", filters::min);
    environment.add_filter("max", filters::max);
    environment.add_filter("unique", filters::unique);
    environment.add_filter("dictsort", filters::dictsort);
    environment.add_filter("batch", filters::batch);
    environment.add_filter("slice", filters::slice);
    environment.add_filter("indent", text_filters::indent);
    environment.add_filter("truncate", text_filters::truncate);
    environment.add_filter("wordcount", text_filters::word_count);
    environment.add_filter("center", text_filters::center);
    environment.add_filter("escape", text_filters::escape);
    environment.add_filter("e", text_filters::escape);
    environment.add_filter("forceescape", text_filters::force_escape);
    environment.add_filter("urlencode", text_filters::url_encode);
    environment.add_filter(REMAINDER, remainder);
    // It prints otherwise than Python.
    environment.remove_filter("pprint");
}

fn add_functions(environment: &mut Environment<'static>) {
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("joiner", globals::joiner);
    environment.add_function("cycler", globals::cycler);
    environment.add_function("dict", globals::dict);
    environment.add_function("namespace", globals::namespace);
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
