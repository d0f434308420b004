//! Where the handle hands requests in: the mailbox and gauge of a generating or an embedding engine thread.

use std::os::fd::RawFd;
use std::sync::Arc;

use crate::embed::EmbedShared;
use crate::runner::Shared;
use crate::{Event, Stats, Timings};

/// One engine thread's side for its owner.
pub(crate) enum Desk {
    Generate(Arc<Shared>),
    Embed(Arc<EmbedShared>),
}

impl Desk {
    pub fn cancel(&self, request: u64) {
        match self {
            Self::Generate(shared) => shared.mailbox.cancel(request),
            Self::Embed(shared) => shared.mailbox.cancel(request),
        }
    }

    pub fn drain(&self) -> Vec<Event> {
        match self {
            Self::Generate(shared) => shared.mailbox.drain(),
            Self::Embed(shared) => shared.mailbox.drain(),
        }
    }

    pub fn fd(&self) -> RawFd {
        match self {
            Self::Generate(shared) => shared.mailbox.fd(),
            Self::Embed(shared) => shared.mailbox.fd(),
        }
    }

    pub fn stats(&self) -> Stats {
        match self {
            Self::Generate(shared) => shared.gauge.read(),
            Self::Embed(shared) => shared.gauge.read(),
        }
    }

    pub fn timings(&self) -> Timings {
        match self {
            Self::Generate(shared) => shared.gauge.timings(),
            Self::Embed(shared) => shared.gauge.timings(),
        }
    }

    pub fn close(&self) {
        match self {
            Self::Generate(shared) => shared.mailbox.close(),
            Self::Embed(shared) => shared.mailbox.close(),
        }
    }
}
