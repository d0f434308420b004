//! What a parser reads and writes: the characters of an answer as they come, and the pieces made of them.
//!
//! The parsers are async functions over single characters: where the next one has not come they wait, and the owner
//! polls them again when it has. So they read like parsers of a whole text, and cannot see where the text was cut.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use super::Piece;

/// What is written is no call after all; what was read of it comes out as text.
#[derive(Debug)]
pub(super) struct Malformed;

pub(super) type Parsed<T> = Result<T, Malformed>;

/// A call is shown once it is complete or has so many bytes of arguments: until then it can still become text.
const HELD_BYTES: usize = 256;

/// How the text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextEnd {
    /// The model ended it.
    Whole,
    /// A limit cut it.
    Cut,
}

/// What the owner and the parser share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub input: String,
    pub end: Option<TextEnd>,
    pub output: Vec<Piece>,
    /// Whether what comes next is thought.
    pub thinking: bool,
    /// Calls that are complete.
    pub calls: usize,
}

pub(super) fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Likeness {
    None,
    /// All that is here is the beginning of it.
    Beginning,
    Whole,
}

/// A call whose end has not come.
#[derive(Debug)]
struct OpenCall {
    name: String,
    /// Not yet shown arguments.
    held: String,
    shown: bool,
}

/// The reading and writing end of a parser.
#[derive(Debug)]
pub(super) struct Wire {
    shared: Arc<Mutex<Shared>>,
    buffer: VecDeque<char>,
    end: Option<TextEnd>,
    /// What was read of a possible call, to be given back as text.
    raw: String,
    keeps_raw: bool,
    call: Option<OpenCall>,
    calls: usize,
    /// White space that is shown only if more text follows.
    space: String,
    /// Text or thought has been shown, so that space at its beginning counts.
    begun: bool,
    trims: bool,
}

impl Wire {
    /// `trims`: white space around thoughts and calls is not part of the text.
    pub fn new(shared: Arc<Mutex<Shared>>, trims: bool) -> Self {
        Self {
            shared,
            buffer: VecDeque::new(),
            end: None,
            raw: String::new(),
            keeps_raw: false,
            call: None,
            calls: 0,
            space: String::new(),
            begun: true,
            trims,
        }
    }

    // Reading.

    /// Whether so many characters are here; pending as long as they may still come.
    fn have(&mut self, count: usize) -> Poll<bool> {
        if self.buffer.len() >= count {
            return Poll::Ready(true);
        }
        if self.end.is_none() {
            let mut shared = lock(&self.shared);
            self.buffer.extend(shared.input.drain(..).as_str().chars());
            self.end = shared.end;
        }
        match self.buffer.len() >= count {
            true => Poll::Ready(true),
            false if self.end.is_some() => Poll::Ready(false),
            false => Poll::Pending,
        }
    }

    /// The next character, which stays; none at the end.
    pub async fn peek(&mut self) -> Option<char> {
        poll_fn(|_| self.have(1)).await;
        self.buffer.front().copied()
    }

    /// Take the next character; none at the end.
    pub async fn next(&mut self) -> Option<char> {
        let char = self.peek().await?;
        self.buffer.pop_front();
        if self.keeps_raw {
            self.raw.push(char);
        }
        Some(char)
    }

    /// Which of the markers begins here, the longest if several do; it stays. Waits while one still may.
    pub async fn marker(&mut self, markers: &[&str]) -> Option<usize> {
        poll_fn(|_| {
            loop {
                let length = self.buffer.len();
                let fits = |index: &usize| self.compare(markers[*index]) == Likeness::Whole;
                let found = (0..markers.len()).filter(fits);
                let found = found.max_by_key(|index| markers[*index].len());
                let may = |marker: &&str| self.compare(marker) == Likeness::Beginning;
                if !markers.iter().any(may) {
                    return Poll::Ready(found);
                }
                match self.have(length + 1) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(false) => return Poll::Ready(found),
                    Poll::Ready(true) => {}
                }
            }
        })
        .await
    }

    /// How much of the marker the buffer begins with.
    fn compare(&self, marker: &str) -> Likeness {
        let mut chars = self.buffer.iter();
        for wanted in marker.chars() {
            match chars.next() {
                Some(&char) if char == wanted => {}
                Some(_) => return Likeness::None,
                None => return Likeness::Beginning,
            }
        }
        Likeness::Whole
    }

    /// Take one of the markers if it is next.
    pub async fn take_marker(&mut self, markers: &[&str]) -> Option<usize> {
        let index = self.marker(markers).await?;
        for _ in markers[index].chars() {
            self.next().await;
        }
        Some(index)
    }

    /// Take this text if it is next.
    pub async fn take(&mut self, text: &str) -> bool {
        self.take_marker(&[text]).await.is_some()
    }

    /// Take this text, which must be next.
    pub async fn expect(&mut self, text: &str) -> Parsed<()> {
        self.take(text).await.then_some(()).ok_or(Malformed)
    }

    /// Take white space.
    pub async fn skip_space(&mut self) {
        while self.peek().await.is_some_and(char::is_whitespace) {
            self.next().await;
        }
    }

    /// Take all up to one of the markers and the marker; a text longer than `limit` bytes has none.
    pub async fn take_until(&mut self, markers: &[&str], limit: usize) -> Parsed<(String, usize)> {
        let mut text = String::new();
        loop {
            if let Some(index) = self.take_marker(markers).await {
                return Ok((text, index));
            }
            text.push(self.next().await.ok_or(Malformed)?);
            if text.len() > limit {
                return Err(Malformed);
            }
        }
    }

    /// How the text ended, once it has and all of it is read.
    pub fn ended(&self) -> Option<TextEnd> {
        self.end.filter(|_| self.buffer.is_empty())
    }

    // Possible calls.

    /// From here on what is read may have to be given back.
    pub fn begin_raw(&mut self) {
        self.raw.clear();
        self.keeps_raw = true;
    }

    /// What was read is dealt with.
    pub fn end_raw(&mut self) {
        self.raw.clear();
        self.keeps_raw = false;
    }

    /// What was read since was no call: it is text, but for a call that is cut short by a limit and has a name.
    pub fn give_back(&mut self) {
        let raw = std::mem::take(&mut self.raw);
        self.keeps_raw = false;
        if let Some(call) = self.call.take() {
            if call.shown {
                self.write(Piece::Arguments {
                    index: self.calls,
                    text: call.held,
                });
                self.calls += 1;
            } else if self.ended() == Some(TextEnd::Cut) {
                self.call = Some(call);
                self.show_call();
                self.call = None;
                self.calls += 1;
                return;
            }
        }
        self.text(&raw);
    }

    // Writing.

    fn write(&mut self, piece: Piece) {
        let mut shared = lock(&self.shared);
        match (shared.output.last_mut(), piece) {
            (_, Piece::Text(text) | Piece::Reasoning(text)) if text.is_empty() => {}
            (_, Piece::Arguments { text, .. }) if text.is_empty() => {}
            (Some(Piece::Text(last)), Piece::Text(text))
            | (Some(Piece::Reasoning(last)), Piece::Reasoning(text)) => last.push_str(&text),
            (
                Some(Piece::Arguments {
                    index: same,
                    text: last,
                }),
                Piece::Arguments { index, text },
            ) if *same == index => last.push_str(&text),
            (_, piece) => shared.output.push(piece),
        }
    }

    /// Text of the answer.
    pub fn text(&mut self, text: &str) {
        self.say(text, Piece::Text);
    }

    /// A thought.
    pub fn thought(&mut self, text: &str) {
        self.say(text, Piece::Reasoning);
    }

    fn say(&mut self, text: &str, piece: fn(String) -> Piece) {
        if !self.trims {
            return self.write(piece(text.to_owned()));
        }
        let text = if self.begun { text } else { text.trim_start() };
        if text.is_empty() {
            return;
        }
        self.begun = true;
        let body = text.trim_end();
        if body.is_empty() {
            self.space.push_str(text);
            return;
        }
        let mut said = std::mem::take(&mut self.space);
        said.push_str(body);
        text[body.len()..].clone_into(&mut self.space);
        self.write(piece(said));
    }

    /// What comes next is of another kind: space here counts for neither side.
    pub fn turn(&mut self, thinking: bool) {
        self.space.clear();
        self.begun = false;
        lock(&self.shared).thinking = thinking;
    }

    /// The text is over: space at its end was its own, unless something else was shown.
    pub fn close_text(&mut self) {
        let space = std::mem::take(&mut self.space);
        if self.calls == 0 && !lock(&self.shared).thinking {
            self.write(Piece::Text(space));
        }
    }

    /// A call begins: its arguments follow, then `close_call`.
    pub fn open_call(&mut self, name: &str) {
        self.call = Some(OpenCall {
            name: name.to_owned(),
            held: String::new(),
            shown: false,
        });
    }

    /// More of the arguments, as JSON.
    pub fn arguments(&mut self, text: &str) {
        let Some(call) = &mut self.call else { return };
        call.held.push_str(text);
        if call.shown || call.held.len() > HELD_BYTES {
            self.show_call();
        }
    }

    /// The call is complete.
    pub fn close_call(&mut self) {
        self.show_call();
        self.call = None;
        self.calls += 1;
        lock(&self.shared).calls += 1;
        self.raw.clear();
        self.begun = false;
    }

    fn show_call(&mut self) {
        let Some(call) = &mut self.call else { return };
        let text = std::mem::take(&mut call.held);
        let name = std::mem::take(&mut call.name);
        let first = !std::mem::replace(&mut call.shown, true);
        let index = self.calls;
        if first {
            self.space.clear();
            self.write(Piece::Call { index, name });
        }
        self.write(Piece::Arguments { index, text });
        self.raw.clear();
    }

    /// Calls that were begun, whether complete or not.
    pub fn call_count(&self) -> usize {
        self.calls
    }
}
