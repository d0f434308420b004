//! Literals of Python and JSON, read as they come and written as JSON.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::Piece;
use super::json::{is_number, say};
use super::wire::{Malformed, Parsed, Shared, TextEnd, Wire, lock};

const MAX_DEPTH: usize = 64;
/// Longest number or word, in bytes.
const MAX_WORD: usize = 512;

/// Read one value; its JSON goes to the open call, and strings go there as they come.
pub(super) fn value(
    wire: &mut Wire,
    depth: usize,
) -> Pin<Box<dyn Future<Output = Parsed<()>> + Send + '_>> {
    Box::pin(async move {
        wire.skip_space().await;
        match wire.peek().await.ok_or(Malformed)? {
            _ if depth > MAX_DEPTH => Err(Malformed),
            '\'' | '"' => string(wire).await,
            '[' => items(wire, ']', depth).await,
            '(' => items(wire, ')', depth).await,
            '{' => fields(wire, depth).await,
            _ => {
                let word = word(wire).await?;
                wire.arguments(&word);
                Ok(())
            }
        }
    })
}

/// A whole text as JSON, if it is one literal.
pub(super) fn whole(text: &str) -> Option<String> {
    let shared = Arc::new(Mutex::new(Shared {
        input: text.to_owned(),
        end: Some(TextEnd::Whole),
        ..Shared::default()
    }));
    let mut wire = Wire::new(Arc::clone(&shared), false);
    let reading = async {
        wire.open_call("");
        value(&mut wire, 0).await?;
        wire.skip_space().await;
        match wire.peek().await {
            None => wire.close_call(),
            Some(_) => return Err(Malformed),
        }
        Ok(())
    };
    // The whole text is here, so that nothing is waited for.
    let mut reading = std::pin::pin!(reading);
    let Poll::Ready(Ok(())) = reading
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    else {
        return None;
    };
    let pieces = std::mem::take(&mut lock(&shared).output).into_iter();
    let parts = pieces.filter_map(|piece| match piece {
        Piece::Arguments { text, .. } => Some(text),
        _ => None,
    });
    Some(parts.collect())
}

async fn items(wire: &mut Wire, close: char, depth: usize) -> Parsed<()> {
    wire.next().await;
    wire.arguments("[");
    let mut first = true;
    loop {
        wire.skip_space().await;
        if wire.peek().await == Some(close) {
            wire.next().await;
            wire.arguments("]");
            return Ok(());
        }
        if !first {
            wire.arguments(", ");
        }
        first = false;
        value(wire, depth + 1).await?;
        part(wire, close).await?;
    }
}

async fn fields(wire: &mut Wire, depth: usize) -> Parsed<()> {
    wire.next().await;
    wire.arguments("{");
    let mut first = true;
    loop {
        wire.skip_space().await;
        match wire.peek().await {
            Some('}') => {
                wire.next().await;
                wire.arguments("}");
                return Ok(());
            }
            Some('\'' | '"') => {}
            _ => return Err(Malformed),
        }
        if !first {
            wire.arguments(", ");
        }
        first = false;
        string(wire).await?;
        wire.skip_space().await;
        wire.expect(":").await?;
        wire.arguments(": ");
        value(wire, depth + 1).await?;
        part(wire, '}').await?;
    }
}

/// A comma, or the end, which stays.
pub(super) async fn part(wire: &mut Wire, close: char) -> Parsed<()> {
    wire.skip_space().await;
    match wire.peek().await {
        Some(',') => {
            wire.next().await;
            Ok(())
        }
        char if char == Some(close) => Ok(()),
        _ => Err(Malformed),
    }
}

/// A string in either kind of quotes; what it says goes on as it comes.
async fn string(wire: &mut Wire) -> Parsed<()> {
    let quote = wire.next().await.ok_or(Malformed)?;
    wire.arguments("\"");
    loop {
        let char = wire.next().await.ok_or(Malformed)?;
        match char {
            '\\' => escape(wire).await?,
            char if char == quote => break,
            char => say(wire, char),
        }
    }
    wire.arguments("\"");
    Ok(())
}

async fn escape(wire: &mut Wire) -> Parsed<()> {
    let char = wire.next().await.ok_or(Malformed)?;
    let said = match char {
        'x' => return code(wire, 2).await,
        'u' => return code(wire, 4).await,
        'U' => return code(wire, 8).await,
        '\n' => return Ok(()),
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'b' => '\u{8}',
        'f' => '\u{c}',
        '\\' | '\'' | '"' | '/' => char,
        // As Python has it: an escape that is none stands for itself.
        char => {
            say(wire, '\\');
            char
        }
    };
    say(wire, said);
    Ok(())
}

/// A character by its number.
async fn code(wire: &mut Wire, digits: u32) -> Parsed<()> {
    let mut code = 0_u32;
    for _ in 0..digits {
        let digit = wire.next().await.and_then(|char| char.to_digit(16));
        code = code.wrapping_mul(16).wrapping_add(digit.ok_or(Malformed)?);
    }
    match char::from_u32(code) {
        Some(char) => say(wire, char),
        // Half of a surrogate pair, as JSON writes it.
        None if digits == 4 => wire.arguments(&format!("\\u{code:04x}")),
        None => return Err(Malformed),
    }
    Ok(())
}

/// A number, or a word that means something, as JSON.
pub(super) async fn word(wire: &mut Wire) -> Parsed<String> {
    let mut word = String::new();
    while let Some(char) = wire.peek().await {
        if !(char.is_ascii_alphanumeric() || matches!(char, '_' | '.' | '+' | '-')) {
            break;
        }
        word.push(char);
        wire.next().await;
        if word.len() > MAX_WORD {
            return Err(Malformed);
        }
    }
    match word.as_str() {
        "True" | "true" => Ok("true".to_owned()),
        "False" | "false" => Ok("false".to_owned()),
        "None" | "null" => Ok("null".to_owned()),
        _ => number(&word).ok_or(Malformed),
    }
}

/// A number of Python as one of JSON: without a plus, and with digits on both sides of the point.
fn number(word: &str) -> Option<String> {
    let plain = word.replace('_', "");
    let plain = plain.strip_prefix('+').unwrap_or(&plain);
    if is_number(plain) {
        return Some(plain.to_owned());
    }
    let dotted = plain.starts_with(|char: char| char.is_ascii_digit() || matches!(char, '.' | '-'));
    let value = plain
        .parse::<f64>()
        .ok()
        .filter(|value| dotted && value.is_finite())?;
    serde_json::to_string(&value).ok()
}
