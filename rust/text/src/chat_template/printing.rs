//! Values as Python prints them.

use std::fmt::Write;

use minijinja::value::{Tuple, Value, ValueKind};
use minijinja::{AutoEscape, Error, ErrorKind, Output, State, escape_formatter};

/// Deepest nesting.
const MAX_DEPTH: usize = 100;
/// Longest text in bytes: values that hold each other many times are short in memory, but not here.
const MAX_TEXT: usize = 64 << 20;

/// Write a value where a template prints it.
pub(super) fn print(output: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    let plain = matches!(value.kind(), ValueKind::String | ValueKind::Undefined);
    if plain || !matches!(state.auto_escape(), AutoEscape::None) {
        return escape_formatter(output, state, value);
    }
    let text = text(value)?;
    charge(state, &text)?;
    output.write_str(&text).map_err(Error::from)
}

/// A value as Python's `str` writes it.
pub(super) fn text(value: &Value) -> Result<String, Error> {
    if let ValueKind::String | ValueKind::Undefined = value.kind() {
        return Ok(value.to_string());
    }
    let mut text = String::new();
    repr(value, &mut text, 0)?;
    Ok(text)
}

/// What a text costs a template.
pub(super) fn charge(state: &State, text: &str) -> Result<(), Error> {
    state.consume_fuel(text.len() as u64 / 64)
}

/// A value as Python's `repr` writes it.
fn repr(value: &Value, text: &mut String, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH || text.len() > MAX_TEXT {
        let text = "a value is too deep or too long to print";
        return Err(Error::new(ErrorKind::InvalidOperation, text));
    }
    match value.kind() {
        ValueKind::Undefined => text.push_str("Undefined"),
        ValueKind::String => quote(value.as_str().unwrap_or_default(), text),
        ValueKind::Map => {
            text.push('{');
            for (place, key) in value.try_iter()?.enumerate() {
                text.push_str(if place > 0 { ", " } else { "" });
                repr(&key, text, depth + 1)?;
                text.push_str(": ");
                repr(&value.get_item(&key)?, text, depth + 1)?;
            }
            text.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => list(value, text, depth)?,
        _ => match float(value) {
            Some(number) => text.push_str(&python_float(number)),
            None => text.push_str(&value.to_string()),
        },
    }
    Ok(())
}

fn list(value: &Value, text: &mut String, depth: usize) -> Result<(), Error> {
    let tuple = value.downcast_object_ref::<Tuple>().is_some();
    text.push(if tuple { '(' } else { '[' });
    let mut count = 0;
    for item in value.try_iter()? {
        text.push_str(if count > 0 { ", " } else { "" });
        repr(&item, text, depth + 1)?;
        count += 1;
    }
    text.push_str(match (tuple, count) {
        (true, 1) => ",)",
        (true, _) => ")",
        (false, _) => "]",
    });
    Ok(())
}

fn quote(content: &str, text: &mut String) {
    let quote = if content.contains('\'') && !content.contains('"') {
        '"'
    } else {
        '\''
    };
    text.push(quote);
    for char in content.chars() {
        match char {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            char if char == '\\' || char == quote => text.extend(['\\', char]),
            char if is_printable(char) => text.push(char),
            char => escape(u32::from(char), text),
        }
    }
    text.push(quote);
}

fn escape(code: u32, text: &mut String) {
    // Writing to a string cannot fail.
    let _ = match code {
        ..=0xff => write!(text, "\\x{code:02x}"),
        0x100..=0xffff => write!(text, "\\u{code:04x}"),
        _ => write!(text, "\\U{code:08x}"),
    };
}

/// Whether `repr` shows a character as it is: none that controls, formats, separates or is private. Characters that
/// Unicode has not assigned yet are shown, other than in Python.
pub(super) fn is_printable(char: char) -> bool {
    let hidden = matches!(char,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}'
        | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e000}'..='\u{f8ff}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e007f}' | '\u{f0000}'..);
    // A mark, which is such a character, must be found again in the rendered text.
    char == ' ' || !(hidden || char.is_control() || char.is_whitespace())
}

fn float(value: &Value) -> Option<f64> {
    let is_float = value.kind() == ValueKind::Number && !value.is_integer();
    is_float
        .then(|| f64::try_from(value.clone()).ok())
        .flatten()
}

/// Python's `repr` of a float: the shortest digits that read back, as an exponent outside of 1e-4 to 1e16.
pub(super) fn python_float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return (if number > 0.0 { "inf" } else { "-inf" }).to_owned();
    }
    let exponential = format!("{number:e}");
    let (digits, exponent) = exponential.split_once('e').unwrap_or((&exponential, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if number != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = number.to_string();
    if plain.contains('.') {
        plain
    } else {
        format!("{plain}.0")
    }
}

#[cfg(test)]
mod tests {
    use super::python_float;

    #[test]
    fn floats_look_like_pythons() {
        let cases = [
            (1.0, "1.0"),
            (0.0, "0.0"),
            (-0.5, "-0.5"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (0.0001, "0.0001"),
            (1e16, "1e+16"),
            (123_456_789_012_345.0, "123456789012345.0"),
            (1e100, "1e+100"),
        ];
        for (number, expected) in cases {
            assert_eq!(python_float(number), expected);
        }
    }
}
