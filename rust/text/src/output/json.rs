//! JSON as it comes: whether it is well-formed so far and where a value ends.

use super::wire::{Malformed, Parsed, Wire};

/// Deepest nesting of a call's arguments.
const MAX_DEPTH: usize = 128;
/// Longest value that is read to the end before it is used, in bytes.
pub(super) const MAX_VALUE: usize = 1 << 20;

/// What a character meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    More,
    /// The value ends with this character.
    Last,
    /// The value ended before this character, which is not part of it.
    Past,
    /// Part of a string, but only when it is written as an escape.
    Escape,
    Bad,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Value,
    /// After `[`.
    ValueOrEnd,
    /// After `{`.
    KeyOrEnd,
    Key,
    Colon,
    CommaOrEnd,
    /// In a string; a key is followed by a colon.
    Text {
        key: bool,
    },
    Escaped {
        key: bool,
    },
    Hex {
        key: bool,
        left: u8,
    },
    Number,
    Word(&'static str),
}

/// A checker of one value, character by character.
#[derive(Debug)]
struct Checker {
    expect: Expect,
    /// Open containers: true for objects.
    open: Vec<bool>,
    number: String,
}

impl Checker {
    fn new() -> Self {
        Self {
            expect: Expect::Value,
            open: Vec::new(),
            number: String::new(),
        }
    }

    fn push(&mut self, char: char) -> Step {
        match self.expect {
            Expect::Text { key } => self.in_text(key, char),
            Expect::Escaped { key } => match char {
                'u' => self.go(Expect::Hex { key, left: 4 }),
                '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' => self.go(Expect::Text { key }),
                _ => Step::Bad,
            },
            Expect::Hex { key, left } if char.is_ascii_hexdigit() => {
                let left = left - 1;
                self.go(if left == 0 {
                    Expect::Text { key }
                } else {
                    Expect::Hex { key, left }
                })
            }
            Expect::Hex { .. } => Step::Bad,
            Expect::Number => self.in_number(char),
            Expect::Word(rest) => match rest.strip_prefix(char) {
                Some("") => self.value_ended(),
                Some(rest) => self.go(Expect::Word(rest)),
                None => Step::Bad,
            },
            _ if matches!(char, ' ' | '\t' | '\n' | '\r') => Step::More,
            Expect::Colon if char == ':' => self.go(Expect::Value),
            Expect::Key | Expect::KeyOrEnd if char == '"' => self.go(Expect::Text { key: true }),
            Expect::KeyOrEnd if char == '}' => self.close(true),
            Expect::ValueOrEnd if char == ']' => self.close(false),
            Expect::Value | Expect::ValueOrEnd => self.begin_value(char),
            Expect::CommaOrEnd => match (char, self.open.last()) {
                (',', Some(true)) => self.go(Expect::Key),
                (',', Some(false)) => self.go(Expect::Value),
                ('}', _) => self.close(true),
                (']', _) => self.close(false),
                _ => Step::Bad,
            },
            Expect::Colon | Expect::Key | Expect::KeyOrEnd => Step::Bad,
        }
    }

    fn go(&mut self, expect: Expect) -> Step {
        self.expect = expect;
        Step::More
    }

    fn in_text(&mut self, key: bool, char: char) -> Step {
        match char {
            '"' if key => self.go(Expect::Colon),
            '"' => self.value_ended(),
            '\\' => self.go(Expect::Escaped { key }),
            // Models write line breaks as they are.
            char if char < ' ' => Step::Escape,
            _ => Step::More,
        }
    }

    fn begin_value(&mut self, char: char) -> Step {
        match char {
            '{' | '[' if self.open.len() == MAX_DEPTH => Step::Bad,
            '{' => {
                self.open.push(true);
                self.go(Expect::KeyOrEnd)
            }
            '[' => {
                self.open.push(false);
                self.go(Expect::ValueOrEnd)
            }
            '"' => self.go(Expect::Text { key: false }),
            't' => self.go(Expect::Word("rue")),
            'f' => self.go(Expect::Word("alse")),
            'n' => self.go(Expect::Word("ull")),
            '-' | '0'..='9' => {
                self.number.clear();
                self.number.push(char);
                self.go(Expect::Number)
            }
            _ => Step::Bad,
        }
    }

    fn in_number(&mut self, char: char) -> Step {
        if matches!(char, '0'..='9' | '.' | 'e' | 'E' | '+' | '-') {
            self.number.push(char);
            return Step::More;
        }
        if !is_number(&self.number) {
            return Step::Bad;
        }
        match self.value_ended() {
            Step::Last => Step::Past,
            _ => self.push(char),
        }
    }

    fn close(&mut self, object: bool) -> Step {
        if self.open.pop() == Some(object) {
            self.value_ended()
        } else {
            Step::Bad
        }
    }

    fn value_ended(&mut self) -> Step {
        self.expect = Expect::CommaOrEnd;
        if self.open.is_empty() {
            Step::Last
        } else {
            Step::More
        }
    }
}

/// Whether a text is a number of JSON.
pub(super) fn is_number(text: &str) -> bool {
    serde_json::from_str::<serde_json::Number>(text).is_ok()
}

/// Where a value that is read goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// To the open call, as it comes.
    Arguments,
    /// To the caller.
    Caller,
}

/// Read one value and no more; the text of it, if the caller wants it.
pub(super) async fn value(wire: &mut Wire, target: Target) -> Parsed<String> {
    let mut checker = Checker::new();
    let mut text = String::new();
    let mut small = [0; 4];
    loop {
        let char = wire.peek().await;
        // At the end a number may be complete.
        let step = checker.push(char.unwrap_or('\n'));
        let (Some(char), Step::More | Step::Last | Step::Escape) = (char, step) else {
            let whole = step == Step::Past;
            return if whole { Ok(text) } else { Err(Malformed) };
        };
        wire.next().await;
        let escape;
        let part = if step == Step::Escape {
            escape = format!("\\u{:04x}", u32::from(char));
            escape.as_str()
        } else {
            char.encode_utf8(&mut small)
        };
        match target {
            Target::Arguments => wire.arguments(part),
            Target::Caller => text.push_str(part),
        }
        if text.len() > MAX_VALUE {
            return Err(Malformed);
        }
        if step == Step::Last {
            return Ok(text);
        }
    }
}

/// Read a string; what it says.
pub(super) async fn string(wire: &mut Wire) -> Parsed<String> {
    if wire.peek().await != Some('"') {
        return Err(Malformed);
    }
    let text = value(wire, Target::Caller).await?;
    serde_json::from_str(&text).map_err(|_| Malformed)
}

/// A text as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Pass on one character inside of a string.
pub(super) fn say(wire: &mut Wire, char: char) {
    if char < ' ' || matches!(char, '"' | '\\') {
        let text = quoted(char.encode_utf8(&mut [0; 4]));
        wire.arguments(&text[1..text.len() - 1]);
    } else {
        wire.arguments(char.encode_utf8(&mut [0; 4]));
    }
}
