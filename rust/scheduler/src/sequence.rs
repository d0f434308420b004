//! A sequence: its tokens, how far their KV is computed, and the blocks that hold it.

use std::sync::Arc;

use crate::prefix_cache::{Link, Parent};

/// The caller's name for a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub u64);

/// A sequence to add.
#[derive(Debug, Clone)]
pub struct NewSequence {
    /// Not used by any sequence that has not ended.
    pub id: SequenceId,
    /// At least one token.
    pub prompt: Arc<[u32]>,
    /// The caller finishes the sequence after this many commits at the latest; at least 1.
    pub max_new_tokens: usize,
    /// Sequences share prefixes only with those of the same salt.
    pub cache_salt: u64,
}

/// Tells the salt of a long sequence from that of a short one.
const LONG: u64 = 1 << 63;

/// A sequence that the scheduler knows.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub id: SequenceId,
    /// The prompt and what was generated.
    pub tokens: Vec<u32>,
    pub prompt: usize,
    /// Positions whose KV is, or by the end of the step under way will be, in `blocks`.
    pub computed: usize,
    pub blocks: Vec<u32>,
    /// Where the leading blocks stand in the prefix cache.
    pub links: Vec<Link>,
    /// Prompt tokens found in the prefix cache at the first admission.
    pub cached: Option<usize>,
    max_tokens: usize,
    salt: u64,
    short: Option<usize>,
}

impl Sequence {
    /// `short` is how many tokens a sequence may have until its KV is different.
    pub fn new(new: NewSequence, short: Option<usize>) -> Self {
        let NewSequence {
            id,
            prompt,
            max_new_tokens,
            cache_salt,
        } = new;
        let mut sequence = Self {
            id,
            tokens: prompt.to_vec(),
            prompt: prompt.len(),
            computed: 0,
            blocks: Vec::new(),
            links: Vec::new(),
            cached: None,
            max_tokens: prompt.len() + max_new_tokens,
            salt: cache_salt,
            short,
        };
        sequence.outgrow();
        sequence
    }

    /// Whether the sequence just became too long for the KV that it has; from then on it shares prefixes only with
    /// those that are as long.
    pub fn outgrow(&mut self) -> bool {
        let outgrown = self.short.is_some_and(|short| self.tokens.len() > short);
        if outgrown {
            self.short = None;
            self.salt ^= LONG;
        }
        outgrown
    }

    /// The first position to compute. The last known token is computed again if no token was committed after it,
    /// so that there is always something to do.
    pub fn next_position(&self) -> usize {
        self.computed.min(self.tokens.len() - 1)
    }

    /// Tokens to compute until the next one can be sampled; one for a sequence that decodes.
    pub fn left(&self) -> usize {
        self.tokens.len() - self.next_position()
    }

    /// Whether the last known token is computed, so that the sequence waits for a sampled one.
    pub fn is_computed(&self) -> bool {
        self.computed == self.tokens.len()
    }

    /// Append a sampled token. One that nobody waits for is dropped: the KV under it may not exist or not fit.
    pub fn push(&mut self, token: u32) {
        if self.is_computed() && self.tokens.len() < self.max_tokens {
            self.tokens.push(token);
        }
    }

    /// Whether both begin with the same so many tokens and may share them.
    pub fn begins_like(&self, other: &Self, len: usize) -> bool {
        let begin = self.tokens.get(..len);
        self.salt == other.salt && begin.is_some() && begin == other.tokens.get(..len)
    }

    /// What the block after the linked ones continues.
    pub fn parent(&self) -> Parent {
        self.links
            .last()
            .map_or(Parent::Salt(self.salt), |&link| Parent::Block(link))
    }
}
