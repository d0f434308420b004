//! A grammar at work on one answer: what may come next, computed on a worker while the model computes its logits.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use llguidance::Matcher;

use super::compiler::plain;
use super::{CompiledGrammar, TokenMask};

/// The library recurses over expressions of a request.
const STACK_BYTES: usize = 16 << 20;

type Computed = (Box<Matcher>, Result<TokenMask, String>);

/// One mask to compute.
pub(crate) struct Job {
    matcher: Box<Matcher>,
    reply: SyncSender<Computed>,
}

/// The thread that computes masks for one engine, started when the first is needed; it ends with this handle.
#[derive(Default)]
pub(crate) struct MaskWorker {
    jobs: Option<Sender<Job>>,
}

impl MaskWorker {
    fn send(&mut self, job: Job) -> Result<(), String> {
        let jobs = match &self.jobs {
            Some(jobs) => jobs,
            None => self.jobs.insert(start()?),
        };
        let gone = |_| "the thread for grammars has ended".to_owned();
        jobs.send(job).map_err(gone)
    }
}

fn start() -> Result<Sender<Job>, String> {
    let (jobs, orders) = channel::<Job>();
    let work = move || {
        for Job { mut matcher, reply } in orders {
            let mask = matcher.compute_mask();
            let mask = mask
                .map(TokenMask::new)
                .map_err(|error| plain(&error.to_string()));
            // Nobody waits for the mask of an answer that was cancelled.
            let _ = reply.send((matcher, mask));
        }
    };
    let thread = std::thread::Builder::new()
        .name("cortex-masks".to_owned())
        .stack_size(STACK_BYTES);
    let spawned = thread.spawn(work);
    spawned.map_err(|error| format!("no thread for grammars: {error}"))?;
    Ok(jobs)
}

enum State {
    /// The mask for the next token.
    Ready(Box<Matcher>, Arc<TokenMask>),
    /// It is being computed.
    Pending(Receiver<Computed>),
    /// It went wrong; the answer ends.
    Broken(String),
}

/// The state of a grammar in one answer.
pub(crate) struct Constraint {
    state: State,
}

impl Constraint {
    pub fn new(grammar: &CompiledGrammar) -> Self {
        let (matcher, first) = grammar.begin();
        Self {
            state: State::Ready(Box::new(matcher), first),
        }
    }

    /// What may come next; waits for the worker.
    ///
    /// # Errors
    /// Why the grammar cannot go on.
    pub fn mask(&mut self) -> Result<&TokenMask, String> {
        if let State::Pending(computed) = &self.state {
            self.state = match computed.recv() {
                Ok((matcher, Ok(mask))) => State::Ready(matcher, Arc::new(mask)),
                Ok((_, Err(text))) => State::Broken(text),
                Err(_) => State::Broken("the thread for grammars has ended".to_owned()),
            };
        }
        match &self.state {
            State::Ready(_, mask) => Ok(mask),
            State::Broken(text) => Err(text.clone()),
            State::Pending(_) => Err("the mask is still being computed".to_owned()),
        }
    }

    /// Whether the answer may end here.
    pub fn is_accepting(&mut self) -> bool {
        match &mut self.state {
            State::Ready(matcher, _) => matcher.is_accepting().unwrap_or(false),
            _ => false,
        }
    }

    /// Take the token that was drawn under the mask; true if nothing may follow it. Otherwise the worker begins with
    /// the next mask.
    pub fn take(&mut self, token: u32, worker: &mut MaskWorker) -> bool {
        let taken = State::Broken("a token came before its mask".to_owned());
        let State::Ready(mut matcher, _) = std::mem::replace(&mut self.state, taken) else {
            return false;
        };
        if let Err(error) = matcher.consume_token(token) {
            self.state = State::Broken(plain(&error.to_string()));
            return false;
        }
        if matcher.is_stopped() {
            return true;
        }
        let (reply, computed) = sync_channel(1);
        self.state = match worker.send(Job { matcher, reply }) {
            Ok(()) => State::Pending(computed),
            Err(text) => State::Broken(text),
        };
        false
    }
}
