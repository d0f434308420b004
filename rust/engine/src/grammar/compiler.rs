//! Compiling grammars within bounds: each on a thread of its own, so many at once, so long, and then kept.

use std::collections::VecDeque;
use std::fmt;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cortex_text::Tokenizer;
use llguidance::api::ParserLimits;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::InferenceCapabilities;
use llguidance::{Matcher, ParserFactory};

use super::trie::token_environment;
use super::{Grammar, TokenMask};
use crate::EngineError;

/// Longest compilation, and how many run at once (those included that took too long and cannot be stopped).
const LONGEST: Duration = Duration::from_secs(5);
const MOST_RUNNING: usize = 4;
/// Compiled grammars that are kept.
const KEPT: usize = 32;
/// The compiler recurses over what a request sent.
const STACK_BYTES: usize = 64 << 20;
/// The library puts its state behind its messages.
const STATE_MARKS: [&str; 2] = ["<state>", "<non-verbose/>"];

/// A grammar that is ready to constrain answers of the model that compiled it.
#[derive(Clone)]
pub struct CompiledGrammar(Arc<Compiled>);

struct Compiled {
    /// At the beginning; each answer has its own copy. Locked because the library's type is not `Sync`.
    matcher: Mutex<Matcher>,
    first: Arc<TokenMask>,
}

impl fmt::Debug for CompiledGrammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CompiledGrammar")
    }
}

impl CompiledGrammar {
    /// A state at the beginning of an answer, and what may come first.
    pub(super) fn begin(&self) -> (Matcher, Arc<TokenMask>) {
        let matcher = lock(&self.0.matcher).deep_clone();
        (matcher, Arc::clone(&self.0.first))
    }
}

/// Compiles for one model; the vocabulary's tree is built at the first use.
pub struct GrammarCompiler {
    tokenizer: Arc<Tokenizer>,
    vocab: usize,
    eos: Vec<u32>,
    factory: Mutex<Option<Arc<ParserFactory>>>,
    kept: Mutex<VecDeque<(Grammar, CompiledGrammar)>>,
    running: Arc<Running>,
}

#[derive(Default)]
struct Running {
    count: Mutex<usize>,
    fewer: Condvar,
}

/// One of the compilations that may run at once.
struct Turn(Arc<Running>);

impl Drop for Turn {
    fn drop(&mut self) {
        *lock(&self.0.count) -= 1;
        self.0.fewer.notify_one();
    }
}

/// A panic elsewhere leaves these values whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GrammarCompiler {
    pub fn new(tokenizer: Arc<Tokenizer>, vocab: usize, eos: Vec<u32>) -> Self {
        Self {
            tokenizer,
            vocab,
            eos,
            factory: Mutex::default(),
            kept: Mutex::default(),
            running: Arc::default(),
        }
    }

    /// Blocks while it compiles, and for the first grammar also while the vocabulary's tree is built.
    ///
    /// # Errors
    /// `InvalidField` for a grammar that is wrong, too large or takes too long; `QueueFull`; `EngineFailed`.
    pub fn compile(&self, grammar: &Grammar) -> Result<CompiledGrammar, EngineError> {
        if let Some(known) = self.known(grammar) {
            return Ok(known);
        }
        let factory = self.factory()?;
        let deadline = Instant::now() + LONGEST;
        let turn = self.turn(deadline)?;
        let (sender, receiver) = sync_channel(1);
        let source = grammar.clone();
        spawn(move || {
            let outcome = compile(&factory, &source);
            drop(turn);
            // Nobody waits any more if it took too long.
            let _ = sender.send(outcome);
        })?;
        let left = deadline.saturating_duration_since(Instant::now());
        let compiled = match receiver.recv_timeout(left) {
            Ok(outcome) => outcome.map_err(refused)?,
            Err(RecvTimeoutError::Timeout) => {
                let text = format!(
                    "it takes longer than {} seconds to compile",
                    LONGEST.as_secs()
                );
                return Err(refused(text));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(refused("it cannot be compiled".to_owned()));
            }
        };
        self.keep(grammar, &compiled);
        Ok(compiled)
    }

    fn known(&self, grammar: &Grammar) -> Option<CompiledGrammar> {
        let mut kept = lock(&self.kept);
        let place = kept.iter().position(|(source, _)| source == grammar)?;
        let entry = kept.remove(place)?;
        let compiled = entry.1.clone();
        kept.push_back(entry);
        Some(compiled)
    }

    fn keep(&self, grammar: &Grammar, compiled: &CompiledGrammar) {
        let mut kept = lock(&self.kept);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back((grammar.clone(), compiled.clone()));
    }

    fn factory(&self) -> Result<Arc<ParserFactory>, EngineError> {
        let mut factory = lock(&self.factory);
        if let Some(factory) = &*factory {
            return Ok(Arc::clone(factory));
        }
        let failed =
            |error| EngineError::EngineFailed(format!("the vocabulary for grammars: {error}"));
        let environment = token_environment(&self.tokenizer, self.vocab, &self.eos);
        let slices = SlicedBiasComputer::general_slices();
        let mut made = ParserFactory::new(&environment, InferenceCapabilities::default(), &slices)
            .map_err(failed)?;
        made.quiet();
        *made.limits_mut() = ParserLimits {
            verbose_errors: false,
            ..ParserLimits::default()
        };
        Ok(Arc::clone(factory.insert(Arc::new(made))))
    }

    fn turn(&self, deadline: Instant) -> Result<Turn, EngineError> {
        let mut count = lock(&self.running.count);
        while *count >= MOST_RUNNING {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(EngineError::QueueFull {
                    waiting: *count,
                    limit: MOST_RUNNING,
                });
            }
            let waited = self.running.fewer.wait_timeout(count, left);
            count = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *count += 1;
        Ok(Turn(Arc::clone(&self.running)))
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<(), EngineError> {
    let thread = std::thread::Builder::new()
        .name("cortex-grammar".to_owned())
        .stack_size(STACK_BYTES);
    match thread.spawn(work) {
        Ok(_) => Ok(()),
        Err(error) => Err(EngineError::EngineFailed(format!(
            "no grammar thread: {error}"
        ))),
    }
}

/// Parse, compile, and compute what may come first: a grammar that allows nothing or explodes is seen here.
fn compile(factory: &ParserFactory, grammar: &Grammar) -> Result<CompiledGrammar, String> {
    let parser = factory.create_parser(grammar.prepare()?);
    let mut matcher = Matcher::new(parser);
    let fresh = matcher.deep_clone();
    let first = matcher
        .compute_mask()
        .map_err(|error| plain(&error.to_string()))?;
    Ok(CompiledGrammar(Arc::new(Compiled {
        matcher: Mutex::new(fresh),
        first: Arc::new(TokenMask::new(first)),
    })))
}

/// A message of the library without its state.
pub(super) fn plain(message: &str) -> String {
    let end = STATE_MARKS
        .iter()
        .filter_map(|mark| message.find(mark))
        .min();
    message[..end.unwrap_or(message.len())].trim().to_owned()
}

fn refused(reason: String) -> EngineError {
    EngineError::field("grammar", reason)
}
