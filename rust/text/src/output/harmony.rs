//! The answers of gpt-oss: messages with a header each, which says the channel and who it is for.
//!
//! `<|channel|>analysis<|message|>…<|end|>` is thought; `to=functions.f` in a header makes the message the arguments of
//! a call; everything else is text.

use super::json::{self, Target};
use super::tools::Tools;
use super::wire::{Parsed, Wire};

const MESSAGE: &str = "<|message|>";
const ENDS: [&str; 5] = [
    "<|end|>",
    "<|call|>",
    "<|return|>",
    "<|start|>",
    "<|channel|>",
];
/// Every control token that has a meaning here.
pub(super) const TOKENS: [&str; 7] = [
    MESSAGE,
    "<|end|>",
    "<|call|>",
    "<|return|>",
    "<|start|>",
    "<|channel|>",
    "<|constrain|>",
];
/// Longest header, in bytes.
const MAX_HEADER: usize = 512;

/// Read the whole answer; the prompt has begun the first header.
pub(super) async fn answer(wire: &mut Wire, tools: &Tools) {
    let mut header = true;
    while wire.peek().await.is_some() {
        if header || wire.marker(&["<|start|>", "<|channel|>"]).await.is_some() {
            header = false;
            if begins_header(wire).await {
                message(wire, tools).await;
                if tools.enough(wire) {
                    return;
                }
                continue;
            }
        }
        // Nothing says what this is: it is text.
        body(wire, false).await;
    }
    wire.close_text();
}

async fn begins_header(wire: &mut Wire) -> bool {
    let begins = ["<|start|>", "<|channel|>", "assistant", " to="];
    wire.marker(&begins).await.is_some()
}

async fn message(wire: &mut Wire, tools: &Tools) {
    wire.begin_raw();
    let Ok((header, _)) = wire.take_until(&[MESSAGE], MAX_HEADER).await else {
        wire.give_back();
        return;
    };
    wire.end_raw();
    if let Some(name) = function(&header).filter(|_| !tools.specs.is_empty()) {
        wire.turn(false);
        wire.begin_raw();
        if call(wire, name).await.is_err() {
            wire.give_back();
        }
        wire.end_raw();
        wire.skip_space().await;
        wire.take_marker(&ENDS[..3]).await;
        return;
    }
    let thinks = header.contains("analysis");
    wire.turn(thinks);
    body(wire, thinks).await;
    wire.turn(false);
}

/// The function that a message calls.
fn function(header: &str) -> Option<&str> {
    let (_, name) = header.split_once("to=")?;
    let name = name
        .split(|char: char| char.is_whitespace() || char == '<')
        .next()?;
    let name = name.strip_prefix("functions.").unwrap_or(name);
    (!name.is_empty()).then_some(name)
}

async fn call(wire: &mut Wire, name: &str) -> Parsed<()> {
    wire.skip_space().await;
    wire.open_call(name);
    if wire.marker(&ENDS).await.is_some() {
        wire.arguments("{}");
    } else {
        json::value(wire, Target::Arguments).await?;
    }
    wire.close_call();
    Ok(())
}

/// The text of a message, up to what ends it.
async fn body(wire: &mut Wire, thinks: bool) {
    loop {
        match wire.marker(&ENDS).await {
            // The next message begins here.
            Some(3 | 4) => return,
            Some(_) => {
                wire.take_marker(&ENDS).await;
                return;
            }
            None => {}
        }
        let Some(char) = wire.next().await else {
            return;
        };
        let mut small = [0; 4];
        let text = char.encode_utf8(&mut small);
        if thinks {
            wire.thought(text);
        } else {
            wire.text(text);
        }
    }
}
