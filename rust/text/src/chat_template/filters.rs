//! Filters that differ between Jinja2 and its Rust relative, with Python's names for their arguments.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::methods::lines;
use super::{printing, python_json};

/// `string`: a value as Python prints it.
pub(super) fn string(value: &Value) -> String {
    printing::text(value)
}

/// `tojson`: the function that transformers puts in the place of Jinja's own.
#[expect(clippy::needless_pass_by_value, reason = "the shape of a filter")]
pub(super) fn to_json(
    value: &Value,
    ascii: Option<bool>,
    indent: Option<Value>,
    separators: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let indent = indent.or(options.get("indent")?);
    let separators = separators.or(options.get("separators")?);
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
        ascii: ascii.or(options.get("ensure_ascii")?).unwrap_or(false),
        sorted: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    options.assert_all_used()?;
    python_json::dumps(value, &style).map(Value::from)
}

/// `indent`: every line but the first and, if not asked for, empty ones; a newline at the end stays.
#[expect(clippy::needless_pass_by_value, reason = "the shape of a filter")]
pub(super) fn indent(
    text: &str,
    width: Option<Value>,
    first: Option<bool>,
    blank: Option<bool>,
    options: Kwargs,
) -> Result<String, Error> {
    let width = width.or(options.get("width")?);
    let width = width.as_ref().map_or(Ok("    ".to_owned()), indentation)?;
    let first = first.or(options.get("first")?).unwrap_or(false);
    let blank = blank.or(options.get("blank")?).unwrap_or(false);
    options.assert_all_used()?;
    let mut output = String::new();
    for (number, (line, _)) in lines(&format!("{text}\n")).into_iter().enumerate() {
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

/// `default`: another value for an undefined one or, if asked for, for one that is not true.
#[expect(clippy::needless_pass_by_value, reason = "the shape of a filter")]
pub(super) fn default(
    value: &Value,
    other: Option<Value>,
    boolean: Option<bool>,
    options: Kwargs,
) -> Result<Value, Error> {
    let other = other.or(options.get("default_value")?);
    let boolean = boolean.or(options.get("boolean")?).unwrap_or(false);
    options.assert_all_used()?;
    let missing = value.is_undefined() || boolean && !value.is_true();
    Ok(if missing {
        other.unwrap_or_else(|| Value::from(""))
    } else {
        value.clone()
    })
}

/// `int`: a whole number, or another value where there is none.
#[expect(clippy::needless_pass_by_value, reason = "the shape of a filter")]
pub(super) fn int(
    value: &Value,
    other: Option<Value>,
    base: Option<u32>,
    options: Kwargs,
) -> Result<Value, Error> {
    let other = other.or(options.get("default")?);
    let base = base.or(options.get("base")?).unwrap_or(10);
    options.assert_all_used()?;
    if !(2..=36).contains(&base) {
        return Err(invalid("int: the base is not a number from 2 to 36"));
    }
    if value.is_integer() {
        return Ok(value.clone());
    }
    let whole = value.as_str().and_then(|text| whole(text.trim(), base));
    // The largest whole numbers of 128 bits lose digits as floats; nothing that is counted comes near.
    let cut = || number(value).filter(|number| number.abs() < 1e38);
    let whole = whole.or_else(|| cut().map(|number| number as i128));
    Ok(whole.map_or_else(|| other.unwrap_or_else(|| Value::from(0)), Value::from))
}

/// `float`: a number with a point, or another value where there is none.
#[expect(clippy::needless_pass_by_value, reason = "the shape of a filter")]
pub(super) fn float(value: &Value, other: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let other = other.or(options.get("default")?);
    options.assert_all_used()?;
    Ok(number(value).map_or_else(|| other.unwrap_or_else(|| Value::from(0.0)), Value::from))
}

/// Digits in a base, perhaps with the prefix of that base.
fn whole(text: &str, base: u32) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let prefix = match base {
        2 => "0b",
        8 => "0o",
        16 => "0x",
        _ => "",
    };
    let digits = digits.strip_prefix(prefix).unwrap_or(digits);
    if digits.starts_with(['+', '-']) {
        return None;
    }
    i128::from_str_radix(digits, base).ok().map(|n| sign * n)
}

fn number(value: &Value) -> Option<f64> {
    match value.kind() {
        ValueKind::String => value.as_str()?.trim().parse().ok(),
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        ValueKind::Number => f64::try_from(value.clone()).ok(),
        _ => None,
    }
}

/// A text to indent with, given as itself or as a number of spaces.
fn indentation(value: &Value) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.to_owned());
    }
    let width = value.as_usize().filter(|&width| width <= 64);
    let width = width.ok_or_else(|| invalid("an indent is a text or a number up to 64"))?;
    Ok(" ".repeat(width))
}

fn pair(value: &Value) -> Result<(String, String), Error> {
    let item = |index| value.get_item_by_index(index).map(|item| item.to_string());
    Ok((item(0)?, item(1)?))
}

fn invalid(text: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, text)
}
