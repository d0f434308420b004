//! The whole answer: thoughts, text and calls, in any order.

use super::formats::{BARE, CALL, CALL_TAGS, How, Reasoning, ToolFormat};
use super::tools::Tools;
use super::wire::{Parsed, Wire};
use super::{OutputFormat, gemma, harmony, named, objects, pythonic, tagged};

/// What the prompt has left the model in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seed {
    /// The model decides whether it thinks.
    Free,
    /// The prompt has opened a thought.
    Thinking,
    /// The prompt has closed one.
    Thought,
}

impl Seed {
    /// Read the end of a prompt.
    #[must_use]
    pub fn of_prompt(end: &str, format: &OutputFormat) -> Self {
        let Some(marks) = format.reasoning else {
            return Self::Free;
        };
        let end = end.trim_end();
        if end.ends_with(marks.open) {
            Self::Thinking
        } else if end.ends_with(marks.close) {
            Self::Thought
        } else {
            Self::Free
        }
    }
}

/// Read an answer to its end, or to its first call if no more are wanted.
pub(super) async fn read(mut wire: Wire, format: OutputFormat, tools: Tools, seed: Seed) {
    if tools.forced {
        forced(&mut wire, &tools).await;
    } else if format.tools == Some(ToolFormat::Harmony) {
        harmony::answer(&mut wire, &tools).await;
    } else {
        free(&mut wire, format, &tools, seed).await;
    }
}

/// The grammar lets nothing but a call come.
async fn forced(wire: &mut Wire, tools: &Tools) {
    wire.begin_raw();
    if objects::read(wire, BARE, tools).await.is_err() {
        wire.give_back();
    }
    wire.end_raw();
    text(wire).await;
}

/// Whatever still comes is text.
async fn text(wire: &mut Wire) {
    while let Some(char) = wire.next().await {
        wire.text(char.encode_utf8(&mut [0; 4]));
    }
    wire.close_text();
}

async fn free(wire: &mut Wire, format: OutputFormat, tools: &Tools, seed: Seed) {
    let style = format
        .tools
        .filter(|_| !tools.specs.is_empty())
        .map(ToolFormat::style);
    let openings = style.map_or(&[][..], |style| style.openings);
    let bare = style.and_then(|style| style.bare);
    let mut markers: Vec<&str> = openings.iter().map(|(opening, _)| *opening).collect();
    let calls = markers.len();
    markers.extend(
        format
            .reasoning
            .iter()
            .flat_map(|marks| [marks.open, marks.close]),
    );
    let mut thought = seed != Seed::Free;
    match (format.reasoning, seed) {
        (Some(marks), Seed::Thinking) => think(wire, marks).await,
        (_, Seed::Thought) => wire.turn(false),
        _ => {}
    }
    // Nothing but space has come since the beginning, a thought or a call.
    let mut fresh = true;
    while let Some(char) = wire.peek().await {
        let how = bare.filter(|(first, _)| fresh && char == *first);
        if let Some((_, how)) = how {
            fresh = call(wire, "", how, tools).await;
        } else {
            match wire.marker(&markers).await {
                Some(index) if index < calls => {
                    let (opening, how) = openings[index];
                    fresh = call(wire, opening, how, tools).await;
                }
                // A thought begins at the beginning of something; elsewhere its mark is spoken of.
                Some(index) if index == calls && fresh => {
                    wire.take_marker(&markers[index..=index]).await;
                    if let Some(marks) = format.reasoning {
                        think(wire, marks).await;
                    }
                    thought = true;
                }
                // An end without a beginning: what came before it is out already.
                Some(index) if index > calls && !thought => {
                    wire.take_marker(&markers[index..=index]).await;
                    thought = true;
                }
                _ => {
                    wire.next().await;
                    wire.text(char.encode_utf8(&mut [0; 4]));
                    fresh &= char.is_whitespace();
                }
            }
        }
        if tools.enough(wire) {
            return;
        }
    }
    wire.close_text();
}

/// A thought, up to its end.
async fn think(wire: &mut Wire, marks: &Reasoning) {
    wire.turn(true);
    while !wire.take(marks.close).await {
        let Some(char) = wire.next().await else {
            return;
        };
        wire.thought(char.encode_utf8(&mut [0; 4]));
    }
    wire.turn(false);
}

/// Calls behind an opening; false if there were none after all and all of it has become text.
async fn call(wire: &mut Wire, opening: &str, how: How, tools: &Tools) -> bool {
    wire.begin_raw();
    let before = wire.call_count();
    let read = called(wire, opening, how, tools).await;
    if read.is_err() {
        wire.give_back();
    }
    wire.end_raw();
    wire.call_count() > before
}

async fn called(wire: &mut Wire, opening: &str, how: How, tools: &Tools) -> Parsed<()> {
    if !matches!(how, How::Tagged(_)) {
        wire.expect(opening).await?;
    }
    match how {
        How::Call => {
            wire.skip_space().await;
            if matches!(wire.peek().await, Some('{' | '[')) {
                objects::read(wire, CALL, tools).await
            } else if wire.marker(&[CALL_TAGS.call]).await.is_some() {
                tagged::read(wire, CALL_TAGS, tools).await
            } else {
                tagged::read_pairs(wire, tools).await
            }
        }
        How::Objects(how) => objects::read(wire, how, tools).await,
        How::Named(how) => named::read(wire, how, tools).await,
        How::Tagged(how) | How::Section(how) => tagged::read(wire, how, tools).await,
        How::Pythonic(how) => pythonic::read(wire, how, tools).await,
        How::Gemma => gemma::read(wire).await,
    }
}
