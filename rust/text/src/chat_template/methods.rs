//! Methods of Python's strings, lists and dictionaries that the template engine lacks or does otherwise.

use minijinja::value::{Kwargs, Tuple, Value, ValueKind, from_args};
use minijinja::{Error, State};
use minijinja_contrib::pycompat;

use super::filters::invalid;
use super::operators::{SPREAD, spread};
use super::text_methods;

/// Answer a method call on a value.
pub(super) fn call(
    state: &mut State,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let own = match value.as_str() {
        Some(text) => match text_methods::call(state, text, name, args)? {
            None => string(text, name, args)?,
            found => found,
        },
        None if name == SPREAD => Some(spread(state, value, args)?),
        None => container(value, name, args)?,
    };
    match own {
        Some(result) => Ok(result),
        None => pycompat::unknown_method_callback(state, value, name, args),
    }
}

fn string(text: &str, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let result = match name {
        "split" => split(text, args, false)?,
        "rsplit" => split(text, args, true)?,
        "strip" => Value::from(strip(text, args, (true, true))?),
        "lstrip" => Value::from(strip(text, args, (true, false))?),
        "rstrip" => Value::from(strip(text, args, (false, true))?),
        "partition" | "rpartition" => partition(text, args, name == "rpartition")?,
        "removeprefix" | "removesuffix" => {
            let (part,): (&str,) = from_args(args)?;
            let rest = if name == "removeprefix" {
                text.strip_prefix(part)
            } else {
                text.strip_suffix(part)
            };
            Value::from(rest.unwrap_or(text))
        }
        "splitlines" => {
            let (keep,): (Option<bool>,) = from_args(args)?;
            let keep = keep.unwrap_or(false);
            let lines = lines(text).into_iter();
            let whole = |(line, end): (&str, &str)| {
                if keep {
                    Value::from(format!("{line}{end}"))
                } else {
                    Value::from(line)
                }
            };
            lines.map(whole).collect()
        }
        _ => return Ok(None),
    };
    Ok(Some(result))
}

fn container(value: &Value, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    match (name, value.kind()) {
        // Values never change, so that a copy is the value.
        ("copy", ValueKind::Seq | ValueKind::Map) => {
            let () = from_args(args)?;
            Ok(Some(value.clone()))
        }
        ("index", ValueKind::Seq) => {
            let (item,): (&Value,) = from_args(args)?;
            let at = value.try_iter()?.position(|other| other == *item);
            Ok(Some(Value::from(at.ok_or_else(|| invalid("not found"))?)))
        }
        _ => Ok(None),
    }
}

/// The parts between separators, or between white space; at most `maxsplit` cuts, from the start or from the end.
fn split(text: &str, args: &[Value], from_end: bool) -> Result<Value, Error> {
    let (separator, limit, options): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = separator.or(options.get("sep")?);
    let limit = limit.or(options.get("maxsplit")?);
    options.assert_all_used()?;
    // A negative number is no limit.
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    let limit = limit.unwrap_or(usize::MAX - 1);
    let mut parts: Vec<&str> = match separator.filter(|separator| !separator.is_none()) {
        None => words(text, limit, from_end),
        Some(separator) => {
            let separator = separator.as_str().filter(|separator| !separator.is_empty());
            let separator = separator.ok_or_else(|| invalid("a separator is a text, not empty"))?;
            if from_end {
                text.rsplitn(limit.saturating_add(1), separator).collect()
            } else {
                text.splitn(limit.saturating_add(1), separator).collect()
            }
        }
    };
    if from_end {
        parts.reverse();
    }
    Ok(parts.into_iter().map(Value::from).collect())
}

/// The words of a text; what lies beyond the limit stays as it is. From the end, the last word comes first.
fn words(text: &str, limit: usize, from_end: bool) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    loop {
        rest = if from_end {
            rest.trim_end_matches(is_space)
        } else {
            rest.trim_start_matches(is_space)
        };
        if rest.is_empty() {
            return words;
        }
        let cut = if from_end {
            rest.rfind(is_space)
        } else {
            rest.find(is_space)
        };
        let Some(cut) = cut.filter(|_| words.len() < limit) else {
            words.push(rest);
            return words;
        };
        let (before, after) = rest.split_at(cut);
        (rest, _) = if from_end {
            words.push(after.trim_start_matches(is_space));
            (before, after)
        } else {
            words.push(before);
            (after, before)
        };
    }
}

fn strip<'t>(text: &'t str, args: &[Value], sides: (bool, bool)) -> Result<&'t str, Error> {
    let (chars,): (Option<&str>,) = from_args(args)?;
    let is_cut = |char: char| match chars {
        Some(chars) => chars.contains(char),
        None => is_space(char),
    };
    let text = if sides.0 {
        text.trim_start_matches(is_cut)
    } else {
        text
    };
    Ok(if sides.1 {
        text.trim_end_matches(is_cut)
    } else {
        text
    })
}

/// Before, the separator, after; without the separator the whole and two empty texts.
fn partition(text: &str, args: &[Value], last: bool) -> Result<Value, Error> {
    let (separator,): (&str,) = from_args(args)?;
    if separator.is_empty() {
        return Err(invalid("a separator is a text, not empty"));
    }
    let cut = if last {
        text.rsplit_once(separator)
    } else {
        text.split_once(separator)
    };
    let parts = match cut {
        Some((before, after)) => [before, separator, after],
        None if last => ["", "", text],
        None => [text, "", ""],
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}

/// The lines of a text as Python cuts them, each with its end.
pub(super) fn lines(text: &str) -> Vec<(&str, &str)> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_line_end) {
        let after = &rest[at..];
        let length = if after.starts_with("\r\n") {
            2
        } else {
            after.chars().next().map_or(1, char::len_utf8)
        };
        lines.push((&rest[..at], &after[..length]));
        rest = &after[length..];
    }
    if !rest.is_empty() {
        lines.push((rest, ""));
    }
    lines
}

fn is_line_end(char: char) -> bool {
    matches!(
        char,
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// White space of Python: with the separators of ASCII, which Unicode's property leaves out.
pub(super) fn is_space(char: char) -> bool {
    char.is_whitespace() || matches!(char, '\u{1c}'..='\u{1f}')
}
