//! What a model has written, as it comes: thoughts, text and tool calls.

mod answer;
mod coerce;
mod detect;
mod formats;
mod gemma;
mod harmony;
mod json;
mod literal;
mod named;
mod objects;
mod pythonic;
mod tagged;
mod tools;
mod wire;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

pub use answer::Seed;
pub use detect::OutputFormat;
pub use formats::{Reasoning, ToolFormat};
pub use tools::{ToolSpec, Tools};
pub use wire::TextEnd;

use wire::{Shared, Wire, lock};

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text of the answer.
    Text(String),
    /// A thought.
    Reasoning(String),
    /// A tool call begins; calls are counted from 0.
    Call {
        /// Its place among the calls of the answer.
        index: usize,
        /// The function.
        name: String,
    },
    /// More of a call's arguments: put together they are one JSON object.
    Arguments {
        /// The call.
        index: usize,
        /// A stretch of JSON text.
        text: String,
    },
}

/// Splits an answer into its parts while it comes. Where the text is cut into pushes makes no difference to them.
///
/// What is no call, whatever it looked like, comes out as text. Marks of thoughts and calls and the space around them
/// are left out. A call whose arguments turn out malformed only after they have grown long stays unfinished.
pub struct OutputParser {
    shared: Arc<Mutex<Shared>>,
    reading: Pin<Box<dyn Future<Output = ()> + Send>>,
    over: bool,
    format: OutputFormat,
}

impl fmt::Debug for OutputParser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("OutputParser");
        shown.field("format", &self.format).finish_non_exhaustive()
    }
}

impl OutputParser {
    /// For one answer; `seed` is how the prompt ends.
    #[must_use]
    pub fn new(format: OutputFormat, tools: Tools, seed: Seed) -> Self {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let trims = format.reasoning.is_some() || !tools.specs.is_empty();
        let wire = Wire::new(Arc::clone(&shared), trims);
        lock(&shared).thinking = seed == Seed::Thinking && !tools.forced;
        Self {
            shared,
            reading: Box::pin(answer::read(wire, format, tools, seed)),
            over: false,
            format,
        }
    }

    /// Take the next text; names of control tokens that the format `holds` are part of it.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        lock(&self.shared).input.push_str(text);
        self.advance()
    }

    /// The text is over.
    pub fn finish(&mut self, end: TextEnd) -> Vec<Piece> {
        lock(&self.shared).end = Some(end);
        self.advance()
    }

    /// Whether what comes next is thought, as far as is known.
    #[must_use]
    pub fn thinking(&self) -> bool {
        lock(&self.shared).thinking
    }

    /// Calls that are complete.
    #[must_use]
    pub fn calls(&self) -> usize {
        lock(&self.shared).calls
    }

    /// Whether nothing more is wanted: the only call that may be is complete.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Whether the parser must see the name of a control token.
    #[must_use]
    pub fn holds(&self, token: &str) -> bool {
        self.format.holds(token)
    }

    fn advance(&mut self) -> Vec<Piece> {
        if !self.over {
            let mut context = Context::from_waker(Waker::noop());
            self.over = self.reading.as_mut().poll(&mut context).is_ready();
        }
        std::mem::take(&mut lock(&self.shared).output)
    }
}
