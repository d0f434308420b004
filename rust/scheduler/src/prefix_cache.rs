//! Full blocks by what they hold, each chained to the block before it; unreferenced ones are evicted LRU.
//!
//! The key of a block is its tokens and the identity of its parent, and the map compares both. A hit on a chain is
//! therefore exact, whatever the hashes do: equal parent means equal tokens before, by induction from the salt.

use std::collections::{BTreeMap, HashMap};

/// Identity of an entry; never used twice, so that an evicted parent cannot be taken for its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Link(u64);

/// What comes before a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Parent {
    /// Nothing; the block begins a sequence of this salt.
    Salt(u64),
    /// The block of this entry.
    Block(Link),
}

/// A block that is in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hit {
    pub block: u32,
    pub link: Link,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    parent: Parent,
    tokens: Box<[u32]>,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    /// When the last sequence left it; absent while one holds it.
    idle_since: Option<u64>,
}

/// The registered blocks.
#[derive(Debug, Default)]
pub(crate) struct PrefixCache {
    hits: HashMap<Key, Hit>,
    entries: HashMap<u32, Entry>,
    /// Blocks without a sequence, the longest unused first.
    idle: BTreeMap<u64, u32>,
    clock: u64,
}

impl PrefixCache {
    /// Blocks without a sequence.
    pub fn idle(&self) -> usize {
        self.idle.len()
    }

    /// Whether the block is here without a sequence.
    pub fn is_idle(&self, block: u32) -> bool {
        self.entries
            .get(&block)
            .is_some_and(|entry| entry.idle_since.is_some())
    }

    /// The block that holds these tokens after that parent.
    pub fn find(&self, parent: Parent, tokens: &[u32]) -> Option<Hit> {
        let tokens = tokens.into();
        self.hits.get(&Key { parent, tokens }).copied()
    }

    /// Register a block that a sequence holds; its key must not be here yet.
    pub fn insert(&mut self, parent: Parent, tokens: &[u32], block: u32) -> Link {
        let link = Link(self.tick());
        let key = Key {
            parent,
            tokens: tokens.into(),
        };
        let entry = Entry {
            key: key.clone(),
            idle_since: None,
        };
        let known = self.hits.insert(key, Hit { block, link });
        let held = self.entries.insert(block, entry);
        debug_assert!(known.is_none() && held.is_none(), "registered twice");
        link
    }

    /// A sequence takes the block.
    pub fn hold(&mut self, block: u32) {
        let entry = self.entries.get_mut(&block);
        if let Some(since) = entry.and_then(|entry| entry.idle_since.take()) {
            self.idle.remove(&since);
        }
    }

    /// The last sequence leaves the block; false if the block is not registered.
    pub fn rest(&mut self, block: u32) -> bool {
        let now = self.tick();
        let Some(entry) = self.entries.get_mut(&block) else {
            return false;
        };
        entry.idle_since = Some(now);
        self.idle.insert(now, block);
        true
    }

    /// Forget the longest unused block.
    pub fn evict(&mut self) -> Option<u32> {
        let (_, block) = self.idle.pop_first()?;
        if let Some(entry) = self.entries.remove(&block) {
            self.hits.remove(&entry.key);
        }
        Some(block)
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_block_is_found_only_after_its_own_parent() {
        let mut cache = PrefixCache::default();
        let first = cache.insert(Parent::Salt(1), &[1, 2], 7);
        let second = cache.insert(Parent::Block(first), &[1, 2], 3);
        assert_eq!(cache.find(Parent::Salt(1), &[1, 2]).unwrap().block, 7);
        assert_eq!(cache.find(Parent::Block(first), &[1, 2]).unwrap().block, 3);
        assert_eq!(cache.find(Parent::Block(second), &[1, 2]), None);
        assert_eq!(cache.find(Parent::Salt(2), &[1, 2]), None);
        assert_eq!(cache.find(Parent::Salt(1), &[1, 3]), None);
    }

    #[test]
    fn the_longest_unused_goes_first_and_a_held_one_never() {
        let mut cache = PrefixCache::default();
        for block in 0..3 {
            cache.insert(Parent::Salt(0), &[block], block);
        }
        assert_eq!(cache.evict(), None);
        assert!(cache.rest(2) && cache.rest(0) && cache.rest(1));
        cache.hold(0);
        assert_eq!(cache.evict(), Some(2));
        assert_eq!(cache.find(Parent::Salt(0), &[2]), None);
        assert_eq!((cache.evict(), cache.evict()), (Some(1), None));
        assert!(!cache.rest(9), "not registered");
    }
}
