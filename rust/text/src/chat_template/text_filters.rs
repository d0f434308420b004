//! Filters for texts that the template engine lacks or writes otherwise than Jinja2.

use std::fmt::Write;

use minijinja::value::{Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Error, State};

use super::arguments::{bind, count, flag, text};
use super::filters::{indentation, invalid};
use super::methods::lines;
use super::printing;
use super::text_methods::padded;

/// `indent`: every line but the first and, if not asked for, empty ones; a newline at the end stays.
pub(super) fn indent(text: &str, args: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let [width, first, blank] = bind(&args.into_values(), ["width", "first", "blank"])?;
    let width = width.as_ref().map_or(Ok("    ".to_owned()), indentation)?;
    let (first, blank) = (flag(first.as_ref()), flag(blank.as_ref()));
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

/// `truncate`: so many characters with the ending, cut between words if not asked otherwise.
pub(super) fn truncate(value: &str, args: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let [length, words, end, leeway] = bind(
        &args.into_values(),
        ["length", "killwords", "end", "leeway"],
    )?;
    let length = count(length.as_ref(), 255)?;
    let end = text(end.as_ref(), "...")?;
    let leeway = leeway.filter(|leeway| !leeway.is_none());
    let leeway = count(leeway.as_ref(), 5)?;
    let kept = length.checked_sub(end.chars().count());
    let kept = kept.ok_or_else(|| invalid("truncate: the length is less than the ending's"))?;
    if value.chars().count() <= length.saturating_add(leeway) {
        return Ok(value.to_owned());
    }
    let start: String = value.chars().take(kept).collect();
    let start = match start.rsplit_once(' ') {
        Some((start, _)) if !flag(words.as_ref()) => start,
        _ => &start,
    };
    Ok(format!("{start}{end}"))
}

/// `wordcount`: stretches of letters, digits and underscores.
pub(super) fn word_count(value: &str) -> usize {
    let between = |char: char| !char.is_alphanumeric() && char != '_';
    let words = value.split(between);
    words.filter(|word| !word.is_empty()).count()
}

/// `center`: in the middle of so many characters.
pub(super) fn center(
    state: &State,
    value: &str,
    args: Rest<ValueOrKwargs>,
) -> Result<String, Error> {
    let [width] = bind(&args.into_values(), ["width"])?;
    let width = count(width.as_ref(), 80)?;
    padded(state, value, (width, ' '), "center")
}

/// `escape`: safe between tags of HTML.
pub(super) fn escape(value: &Value) -> Result<Value, Error> {
    if value.is_safe() {
        return Ok(value.clone());
    }
    force_escape(value)
}

/// `forceescape`: the same, also of what is safe already.
pub(super) fn force_escape(value: &Value) -> Result<Value, Error> {
    let text = printing::text(value)?;
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&#39;"),
            '"' => escaped.push_str("&#34;"),
            char => escaped.push(char),
        }
    }
    Ok(Value::from_safe_string(escaped))
}

/// `urlencode`: a text, or a query of pairs.
pub(super) fn url_encode(value: &Value) -> Result<String, Error> {
    if value.kind() == ValueKind::String {
        return Ok(quoted(value.as_str().unwrap_or_default(), true));
    }
    let part = |value: &Value| printing::text(value).map(|text| quoted(&text, false));
    let mut pairs = Vec::new();
    for item in value.try_iter()? {
        let (key, value) = match value.kind() {
            ValueKind::Map => (item.clone(), value.get_item(&item)?),
            _ => (item.get_item_by_index(0)?, item.get_item_by_index(1)?),
        };
        pairs.push(format!("{}={}", part(&key)?, part(&value)?));
    }
    Ok(pairs.join("&").replace("%20", "+"))
}

/// With everything percent-encoded that may not stand in a path, or in a part of one.
fn quoted(text: &str, path: bool) -> String {
    let mut quoted = String::new();
    for byte in text.bytes() {
        match byte {
            b'/' if path => quoted.push('/'),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                quoted.push(char::from(byte));
            }
            byte => {
                // Writing to a string cannot fail.
                let _ = write!(quoted, "%{byte:02X}");
            }
        }
    }
    quoted
}
