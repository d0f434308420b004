//! Methods of Python's strings that search, fill, test and write otherwise: those that the template engine lacks.

use minijinja::value::{Value, from_args};
use minijinja::{Error, State};

use super::arguments::text as text_of;
use super::filters::invalid;
use super::methods::is_space;
use super::printing::is_printable;

/// Answer a method call on a text, if the method is one of these.
pub(super) fn call(
    state: &State,
    text: &str,
    name: &str,
    args: &[Value],
) -> Result<Option<Value>, Error> {
    match name {
        "find" | "rfind" | "index" | "rindex" | "count" => search(text, name, args).map(Some),
        "startswith" | "endswith" => is_at_end(text, name == "startswith", args).map(Some),
        "center" | "ljust" | "rjust" => {
            let (width, fill): (usize, Option<Value>) = from_args(args)?;
            let mut fill = text_of(fill.as_ref(), " ")?.chars();
            let (Some(fill), None) = (fill.next(), fill.next()) else {
                return Err(invalid("the fill is not one character"));
            };
            padded(state, text, (width, fill), name).map(|text| Some(Value::from(text)))
        }
        "zfill" => {
            let (width,): (usize,) = from_args(args)?;
            let sign = text.len() - text.strip_prefix(['-', '+']).unwrap_or(text).len();
            let width = width.saturating_sub(sign);
            let filled = padded(state, &text[sign..], (width, '0'), "rjust")?;
            Ok(Some(Value::from(format!("{}{filled}", &text[..sign]))))
        }
        "join" => join(state, text, args).map(Some),
        _ => plain(text, name, args),
    }
}

/// Methods without arguments.
fn plain(text: &str, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let all = |test: fn(char) -> bool| !text.is_empty() && text.chars().all(test);
    let result = match name {
        "title" => Value::from(titled(text)),
        "swapcase" => {
            let swapped = text.chars().flat_map(|char| {
                let (upper, lower) = (char.to_uppercase(), char.to_lowercase());
                let lowered = char.is_uppercase().then_some(lower);
                let raised = (!char.is_uppercase()).then_some(upper);
                lowered
                    .into_iter()
                    .flatten()
                    .chain(raised.into_iter().flatten())
            });
            Value::from(swapped.collect::<String>())
        }
        "casefold" => Value::from(text.replace(['ß', 'ẞ'], "ss").to_lowercase()),
        "isspace" => Value::from(all(is_space)),
        "isdecimal" => Value::from(all(is_decimal)),
        "isdigit" => Value::from(all(is_digit)),
        "istitle" => Value::from(text.chars().any(char::is_alphabetic) && titled(text) == text),
        "isprintable" => Value::from(text.chars().all(is_printable)),
        "isidentifier" => {
            let word = text
                .chars()
                .all(|char| char.is_alphanumeric() || char == '_');
            Value::from(word && !text.is_empty() && !text.starts_with(char::is_numeric))
        }
        _ => return Ok(None),
    };
    let () = from_args(args)?;
    Ok(Some(result))
}

/// Every letter behind something else in capitals, every other small.
fn titled(text: &str) -> String {
    let mut titled = String::with_capacity(text.len());
    let mut inside = false;
    for char in text.chars() {
        if inside {
            titled.extend(char.to_lowercase());
        } else {
            titled.extend(char.to_uppercase());
        }
        inside = char.is_lowercase() || char.is_uppercase();
    }
    titled
}

/// The first of the ten digits in each script that has its own.
const ZEROS: [u32; 38] = [
    0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66,
    0xde6, 0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90,
    0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10,
    0x104a0,
];

fn is_decimal(char: char) -> bool {
    let code = u32::from(char);
    ZEROS.iter().any(|&zero| (zero..zero + 10).contains(&code)) || ('𝟎'..='𝟿').contains(&char)
}

/// Also raised, lowered and circled ones.
fn is_digit(char: char) -> bool {
    is_decimal(char)
        || matches!(char, '²' | '³' | '¹' | '⁰' | '⁴'..='⁹' | '₀'..='₉' | '①'..='⑨' | '⑴'..='⑼' | '⒈'..='⒐')
}

/// The part of a text from one character to before another, counted from the end where negative; and how many
/// characters stand before it.
fn window(text: &str, from: Option<i64>, to: Option<i64>) -> Option<(&str, usize)> {
    let length = text.chars().count();
    let place = |at: i64| {
        let at = if at < 0 { at + length as i64 } else { at };
        usize::try_from(at).unwrap_or(0)
    };
    let (from, to) = (from.map_or(0, place), to.map_or(length, place).min(length));
    if from > to {
        return None;
    }
    let byte = |place: usize| {
        text.char_indices()
            .nth(place)
            .map_or(text.len(), |(at, _)| at)
    };
    Some((&text[byte(from)..byte(to)], from))
}

fn search(text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    let (part, from, to): (&str, Option<i64>, Option<i64>) = from_args(args)?;
    let found = window(text, from, to);
    if name == "count" {
        return Ok(Value::from(
            found.map_or(0, |(text, _)| text.matches(part).count()),
        ));
    }
    let found = found.and_then(|(text, before)| {
        let at = if name.starts_with('r') {
            text.rfind(part)
        } else {
            text.find(part)
        };
        at.map(|at| before + text[..at].chars().count())
    });
    match found {
        Some(at) => Ok(Value::from(at)),
        None if name.ends_with("index") => Err(invalid("not found")),
        None => Ok(Value::from(-1)),
    }
}

fn is_at_end(text: &str, start: bool, args: &[Value]) -> Result<Value, Error> {
    let (parts, from, to): (&Value, Option<i64>, Option<i64>) = from_args(args)?;
    let Some((text, _)) = window(text, from, to) else {
        return Ok(Value::from(false));
    };
    let fits = |part: &Value| {
        let part = part
            .as_str()
            .ok_or_else(|| invalid("what is looked for is no text"))?;
        Ok::<_, Error>(if start {
            text.starts_with(part)
        } else {
            text.ends_with(part)
        })
    };
    if parts.as_str().is_some() {
        return fits(parts).map(Value::from);
    }
    for part in parts.try_iter()? {
        if fits(&part)? {
            return Ok(Value::from(true));
        }
    }
    Ok(Value::from(false))
}

fn join(state: &State, separator: &str, args: &[Value]) -> Result<Value, Error> {
    let (items,): (&Value,) = from_args(args)?;
    let mut joined = String::new();
    for (place, item) in items.try_iter()?.enumerate() {
        let item = item.as_str().map(str::to_owned);
        let item = item.ok_or_else(|| invalid("join: an item is no text"))?;
        state.consume_fuel(1 + (separator.len() + item.len()) as u64 / 64)?;
        if place > 0 {
            joined.push_str(separator);
        }
        joined.push_str(&item);
    }
    Ok(Value::from(joined))
}

/// A text filled up to so many characters, on the side that the method of that name fills.
pub(super) fn padded(
    state: &State,
    text: &str,
    (width, fill): (usize, char),
    method: &str,
) -> Result<String, Error> {
    let missing = width.saturating_sub(text.chars().count());
    state.consume_fuel(missing as u64 / 16)?;
    let before = match method {
        "ljust" => 0,
        "rjust" => missing,
        // Where it does not come out even, Python looks at the width.
        _ => missing / 2 + (missing & width & 1),
    };
    let side = |count: usize| std::iter::repeat_n(fill, count);
    Ok(side(before)
        .chain(text.chars())
        .chain(side(missing - before))
        .collect())
}
