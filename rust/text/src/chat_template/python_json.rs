//! JSON as Python's `json.dumps` writes it.

use std::fmt::Write;

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::marks::NONCHARACTERS;
use super::printing::python_float;

/// Deepest nesting.
const MAX_DEPTH: usize = 100;
/// Longest text in bytes: indents of deep values can be many times what they indent.
const MAX_TEXT: usize = 64 << 20;

/// Arguments of `json.dumps`.
pub(super) struct Style {
    pub indent: Option<String>,
    /// Between items, and between a key and its value.
    pub separators: Option<(String, String)>,
    pub ascii: bool,
    pub sorted: bool,
}

/// The JSON text of a value.
pub(super) fn dumps(value: &Value, style: &Style) -> Result<String, Error> {
    let (item, key) = match (&style.separators, &style.indent) {
        (Some((item, key)), _) => (item.as_str(), key.as_str()),
        (None, Some(_)) => (",", ": "),
        (None, None) => (", ", ": "),
    };
    let mut writer = Writer {
        text: String::new(),
        style,
        item,
        key,
    };
    writer.value(value, 0)?;
    Ok(writer.text)
}

struct Writer<'a> {
    text: String,
    style: &'a Style,
    item: &'a str,
    key: &'a str,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                "tojson: nested too deeply",
            ));
        }
        if self.text.len() > MAX_TEXT {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                "tojson: the text is too long",
            ));
        }
        match value.kind() {
            ValueKind::None => self.text.push_str("null"),
            ValueKind::Bool => self
                .text
                .push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if value.is_integer() => self.text.push_str(&value.to_string()),
            ValueKind::Number => self.float(f64::try_from(value.clone())?),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => self.list(value, depth)?,
            ValueKind::Map => self.object(value, depth)?,
            kind => {
                let text = format!("tojson: {kind} is not JSON serializable");
                return Err(Error::new(ErrorKind::InvalidOperation, text));
            }
        }
        Ok(())
    }

    fn float(&mut self, number: f64) {
        let text = match number {
            number if number.is_nan() => "NaN".to_owned(),
            f64::INFINITY => "Infinity".to_owned(),
            f64::NEG_INFINITY => "-Infinity".to_owned(),
            number => python_float(number),
        };
        self.text.push_str(&text);
    }

    fn list(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.text.push('[');
        let mut empty = true;
        for item in value.try_iter()? {
            self.separate(&mut empty, depth);
            self.value(&item, depth + 1)?;
        }
        self.close(']', empty, depth);
        Ok(())
    }

    fn object(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.text.push('{');
        let mut empty = true;
        let mut keys: Vec<Value> = value.try_iter()?.collect();
        if self.style.sorted {
            keys.sort();
        }
        for key in keys {
            self.separate(&mut empty, depth);
            if let Some(text) = key.as_str() {
                self.string(text);
            } else {
                self.text.push('"');
                self.value(&key, depth)?;
                self.text.push('"');
            }
            self.text.push_str(self.key);
            self.value(&value.get_item(&key)?, depth + 1)?;
        }
        self.close('}', empty, depth);
        Ok(())
    }

    fn separate(&mut self, first: &mut bool, depth: usize) {
        if !std::mem::take(first) {
            self.text.push_str(self.item);
        }
        self.line(depth + 1);
    }

    fn close(&mut self, bracket: char, empty: bool, depth: usize) {
        if !empty {
            self.line(depth);
        }
        self.text.push(bracket);
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.style.indent {
            self.text.push('\n');
            self.text.push_str(&indent.repeat(depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.text.push('"');
        for char in text.chars() {
            match char {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                '\u{8}' => self.text.push_str("\\b"),
                '\u{c}' => self.text.push_str("\\f"),
                char if char < ' ' => self.escape(u16::try_from(u32::from(char)).unwrap_or(0)),
                // A mark must be found again in the rendered text.
                char if self.style.ascii && char > '~' && !NONCHARACTERS.contains(&char) => {
                    let mut units = [0; 2];
                    char.encode_utf16(&mut units)
                        .iter()
                        .for_each(|&unit| self.escape(unit));
                }
                char => self.text.push(char),
            }
        }
        self.text.push('"');
    }

    fn escape(&mut self, unit: u16) {
        // Writing to a string cannot fail.
        let _ = write!(self.text, "\\u{unit:04x}");
    }
}
