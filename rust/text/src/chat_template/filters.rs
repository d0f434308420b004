//! Filters that differ between Jinja2 and its Rust relative, with Python's names for their arguments.

use minijinja::value::{Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Error, ErrorKind, State, filters};

use super::arguments::{bind, count, flag, named};
use super::{printing, python_json};

/// `string`: a value as Python prints it.
pub(super) fn string(state: &State, value: &Value) -> Result<Value, Error> {
    if value.as_str().is_some() {
        return Ok(value.clone());
    }
    let text = printing::text(value)?;
    printing::charge(state, &text)?;
    Ok(Value::from(text))
}

/// `tojson`: the function that transformers puts in the place of Jinja's own.
pub(super) fn to_json(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let [ascii, indent, separators, sorted] = bind(&args.into_values(), names)?;
    let given = |value: Option<Value>| value.filter(|value| !value.is_none());
    let style = python_json::Style {
        indent: given(indent).as_ref().map(indentation).transpose()?,
        separators: given(separators).as_ref().map(pair).transpose()?,
        ascii: flag(ascii.as_ref()),
        sorted: flag(sorted.as_ref()),
    };
    python_json::dumps(value, &style).map(Value::from)
}

/// `default`: another value for an undefined one or, if asked for, for one that is not true.
pub(super) fn default(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let [other, boolean] = bind(&args.into_values(), ["default_value", "boolean"])?;
    let missing = value.is_undefined() || flag(boolean.as_ref()) && !value.is_true();
    Ok(if missing {
        other.unwrap_or_else(|| Value::from(""))
    } else {
        value.clone()
    })
}

/// `int`: a whole number, or another value where there is none.
pub(super) fn int(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let [other, base] = bind(&args.into_values(), ["default", "base"])?;
    let base = u32::try_from(count(base.as_ref(), 10)?).unwrap_or(0);
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
pub(super) fn float(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let [other] = bind(&args.into_values(), ["default"])?;
    Ok(number(value).map_or_else(|| other.unwrap_or_else(|| Value::from(0.0)), Value::from))
}

/// `sort`, with its arguments also by place.
pub(super) fn sort(state: &State, value: Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let options = named(
        &args.into_values(),
        ["reverse", "case_sensitive", "attribute"],
    )?;
    filters::sort(state, value, options)
}

/// `min`, with its arguments also by place.
pub(super) fn min(state: &State, value: Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    filters::min(
        state,
        value,
        named(&args.into_values(), ["case_sensitive", "attribute"])?,
    )
}

/// `max`, with its arguments also by place.
pub(super) fn max(state: &State, value: Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    filters::max(
        state,
        value,
        named(&args.into_values(), ["case_sensitive", "attribute"])?,
    )
}

/// `unique`, with its arguments also by place.
pub(super) fn unique(
    state: &State,
    value: Value,
    args: Rest<ValueOrKwargs>,
) -> Result<Value, Error> {
    filters::unique(
        state,
        value,
        named(&args.into_values(), ["case_sensitive", "attribute"])?,
    )
}

/// `dictsort`, with its arguments also by place.
pub(super) fn dictsort(
    state: &State,
    value: &Value,
    args: Rest<ValueOrKwargs>,
) -> Result<Value, Error> {
    state.consume_fuel(value.len().unwrap_or(0) as u64)?;
    filters::dictsort(
        value,
        named(&args.into_values(), ["case_sensitive", "by", "reverse"])?,
    )
}

/// `batch`, with its arguments also by name.
pub(super) fn batch(
    state: &State,
    value: Value,
    args: Rest<ValueOrKwargs>,
) -> Result<Value, Error> {
    let [size, fill] = bind(&args.into_values(), ["linecount", "fill_with"])?;
    filters::batch(state, value, count(size.as_ref(), 0)?, fill)
}

/// `slice`, with its arguments also by name.
pub(super) fn slice(
    state: &State,
    value: Value,
    args: Rest<ValueOrKwargs>,
) -> Result<Value, Error> {
    let [slices, fill] = bind(&args.into_values(), ["slices", "fill_with"])?;
    filters::slice(state, value, count(slices.as_ref(), 0)?, fill)
}

/// Digits in a base, perhaps with the prefix of that base, and with underscores between them.
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
    if digits.starts_with(['+', '-', '_']) || digits.ends_with('_') || digits.contains("__") {
        return None;
    }
    let number = i128::from_str_radix(&digits.replace('_', ""), base);
    number.ok().map(|number| sign * number)
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
pub(super) fn indentation(value: &Value) -> Result<String, Error> {
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

pub(super) fn invalid(text: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, text)
}
