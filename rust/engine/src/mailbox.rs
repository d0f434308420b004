//! The two-way hand-over between callers and the engine thread: orders in, events out, one eventfd.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::{EngineError, Event};

/// Above this many undelivered events those of one request are merged; a slow reader then costs its texts only.
const MERGE_ABOVE: usize = 16_384;

/// What arrived since the last step.
pub(crate) struct Orders<R> {
    /// New requests in order of arrival.
    pub submitted: Vec<R>,
    /// Requests to end.
    pub cancelled: Vec<u64>,
    /// The engine is to stop.
    pub closing: bool,
}

struct Inbox<R> {
    orders: Orders<R>,
    next_request: u64,
    /// Requests whose ending was not yet drained.
    outstanding: usize,
    /// Set once nothing is taken any more.
    refusal: Option<String>,
}

/// Bounded by `limit` requests of type `R` that are not yet ended and drained.
pub(crate) struct Mailbox<R> {
    inbox: Mutex<Inbox<R>>,
    arrived: Condvar,
    outbox: Mutex<Vec<Event>>,
    wake: OwnedFd,
    limit: usize,
}

/// A panic elsewhere leaves these values whole: every critical section only moves values.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<R> Mailbox<R> {
    pub fn new(limit: usize) -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers; the result is checked before use.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            inbox: Mutex::new(Inbox {
                orders: Orders::default(),
                next_request: 0,
                outstanding: 0,
                refusal: None,
            }),
            arrived: Condvar::new(),
            outbox: Mutex::default(),
            // SAFETY: the descriptor was just made and nobody else owns it.
            wake: unsafe { OwnedFd::from_raw_fd(fd) },
            limit,
        })
    }

    /// Queue a request made for the id that it gets.
    pub fn submit(&self, make: impl FnOnce(u64) -> R) -> Result<u64, EngineError> {
        let mut inbox = lock(&self.inbox);
        if let Some(reason) = &inbox.refusal {
            return Err(EngineError::EngineFailed(reason.clone()));
        }
        if inbox.outstanding >= self.limit {
            return Err(EngineError::QueueFull {
                waiting: inbox.outstanding,
                limit: self.limit,
            });
        }
        inbox.next_request += 1;
        inbox.outstanding += 1;
        let id = inbox.next_request;
        inbox.orders.submitted.push(make(id));
        self.arrived.notify_one();
        Ok(id)
    }

    pub fn cancel(&self, request: u64) {
        let mut inbox = lock(&self.inbox);
        if inbox.refusal.is_none() {
            inbox.orders.cancelled.push(request);
            self.arrived.notify_one();
        }
    }

    pub fn close(&self) {
        lock(&self.inbox).orders.closing = true;
        self.arrived.notify_one();
    }

    /// Take nothing more and say why; returns the requests that no step has seen.
    pub fn refuse(&self, reason: String) -> Vec<R> {
        let mut inbox = lock(&self.inbox);
        inbox.refusal.get_or_insert(reason);
        std::mem::take(&mut inbox.orders.submitted)
    }

    /// What arrived; parks the thread until something does if `idle`.
    pub fn collect(&self, idle: bool) -> Orders<R> {
        let mut inbox = lock(&self.inbox);
        while idle && inbox.orders.is_empty() {
            inbox = self
                .arrived
                .wait(inbox)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let closing = inbox.orders.closing;
        let orders = std::mem::take(&mut inbox.orders);
        inbox.orders.closing = closing;
        orders
    }

    /// Whether nobody waits for these any more: the engine is to stop, or all are to be ended.
    pub fn abandoned(&self, requests: &[u64]) -> bool {
        let orders = &lock(&self.inbox).orders;
        orders.closing
            || requests
                .iter()
                .all(|request| orders.cancelled.contains(request))
    }

    /// Hand over the events of one step and wake the reader once.
    pub fn publish(&self, events: &mut Vec<Event>) {
        if events.is_empty() {
            return;
        }
        {
            let mut outbox = lock(&self.outbox);
            outbox.append(events);
            if outbox.len() > MERGE_ABOVE {
                let merged = merge(std::mem::take(&mut *outbox));
                *outbox = merged;
            }
        }
        let one = 1_u64.to_ne_bytes();
        // SAFETY: the buffer is eight readable bytes, the descriptor is ours. A full counter means a pending
        // wake-up, so the result does not matter.
        let _ = unsafe { libc::write(self.wake.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// All events since the last call; clears the eventfd.
    pub fn drain(&self) -> Vec<Event> {
        let mut count = [0_u8; 8];
        // SAFETY: the buffer is eight writable bytes; the descriptor is ours and does not block.
        let _ = unsafe {
            libc::read(
                self.wake.as_raw_fd(),
                count.as_mut_ptr().cast(),
                count.len(),
            )
        };
        let events = std::mem::take(&mut *lock(&self.outbox));
        let ended = events.iter().filter(|event| event.ending.is_some()).count();
        if ended > 0 {
            let mut inbox = lock(&self.inbox);
            inbox.outstanding = inbox.outstanding.saturating_sub(ended);
        }
        events
    }

    pub fn fd(&self) -> RawFd {
        self.wake.as_raw_fd()
    }
}

impl<R> Default for Orders<R> {
    fn default() -> Self {
        Self {
            submitted: Vec::new(),
            cancelled: Vec::new(),
            closing: false,
        }
    }
}

impl<R> Orders<R> {
    fn is_empty(&self) -> bool {
        self.submitted.is_empty() && self.cancelled.is_empty() && !self.closing
    }
}

/// One event a request, in order of their first.
fn merge(events: Vec<Event>) -> Vec<Event> {
    let mut places: HashMap<u64, usize> = HashMap::new();
    let mut merged: Vec<Event> = Vec::new();
    for event in events {
        let place = *places.entry(event.request).or_insert(merged.len());
        if let Some(first) = merged.get_mut(place) {
            first.text.push_str(&event.text);
            first.pieces.extend(event.pieces);
            first.tokens += event.tokens;
            first.logprobs.extend(event.logprobs);
            first.prompt_logprobs.extend(event.prompt_logprobs);
            first.vectors = event.vectors;
            first.ending = event.ending;
        } else {
            merged.push(event);
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn event(request: u64, text: &str) -> Event {
        Event {
            request,
            text: text.to_owned(),
            pieces: Vec::new(),
            tokens: 1,
            logprobs: Vec::new(),
            prompt_logprobs: Vec::new(),
            vectors: None,
            ending: None,
        }
    }

    fn readable(mailbox: &Mailbox<()>) -> bool {
        let mut poll = libc::pollfd {
            fd: mailbox.fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one valid pollfd, no waiting.
        unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
    }

    #[test]
    fn the_descriptor_is_readable_from_publish_to_drain() {
        let mailbox = Mailbox::<()>::new(1).unwrap();
        assert!(!readable(&mailbox));
        mailbox.publish(&mut Vec::new());
        assert!(!readable(&mailbox));
        mailbox.publish(&mut vec![event(1, "a"), event(2, "b")]);
        mailbox.publish(&mut vec![event(1, "c")]);
        assert!(readable(&mailbox));
        assert_eq!(mailbox.drain().len(), 3);
        assert!(!readable(&mailbox));
    }

    #[test]
    fn a_reader_that_never_comes_costs_one_event_a_request() {
        let mailbox = Mailbox::<()>::new(1).unwrap();
        for _ in 0..MERGE_ABOVE {
            mailbox.publish(&mut vec![event(1, "x"), event(2, "y")]);
        }
        let events = mailbox.drain();
        assert!(events.len() <= MERGE_ABOVE);
        let tokens: u32 = events.iter().map(|event| event.tokens).sum();
        assert_eq!(tokens as usize, 2 * MERGE_ABOVE);
        assert!(
            events
                .iter()
                .all(|event| event.text.len() == event.tokens as usize)
        );
    }
}
