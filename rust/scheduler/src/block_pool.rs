//! The KV blocks: free, held by sequences (counted), or kept by the prefix cache alone.

use crate::prefix_cache::{Hit, Parent, PrefixCache};
use crate::sequence::Sequence;

/// Every block of the KV memory.
#[derive(Debug)]
pub(crate) struct BlockPool {
    block_size: usize,
    /// Blocks are registered in the cache.
    shares: bool,
    /// Sequences that hold the block.
    holders: Vec<u32>,
    free: Vec<u32>,
    cache: PrefixCache,
}

impl BlockPool {
    pub fn new(blocks: usize, block_size: usize, shares: bool) -> Self {
        Self {
            block_size,
            shares,
            holders: vec![0; blocks],
            // Low numbers go out first: the pages of the others stay untouched.
            free: (0..blocks as u32).rev().collect(),
            cache: PrefixCache::default(),
        }
    }

    /// Blocks that can be had without taking any from a sequence.
    pub fn available(&self) -> usize {
        self.free.len() + self.cache.idle()
    }

    /// Blocks that sequences hold.
    pub fn used(&self) -> usize {
        self.holders.len() - self.available()
    }

    /// Blocks that only the prefix cache keeps.
    pub fn cached(&self) -> usize {
        self.cache.idle()
    }

    /// All of them.
    pub fn total(&self) -> usize {
        self.holders.len()
    }

    /// The cached blocks that a sequence without blocks can begin with. Its last token is not among them, because
    /// the next one is sampled from what it computes.
    pub fn prefix(&self, sequence: &Sequence) -> Vec<Hit> {
        let mut parent = sequence.parent();
        let mut hits = Vec::new();
        let known = &sequence.tokens[..sequence.tokens.len() - 1];
        for tokens in known.chunks_exact(self.block_size) {
            let Some(hit) = self.cache.find(parent, tokens) else {
                break;
            };
            parent = Parent::Block(hit.link);
            hits.push(hit);
        }
        hits
    }

    /// How many of the hits count as available until a sequence takes them.
    pub fn idle_among(&self, hits: &[Hit]) -> usize {
        let idle = hits.iter().filter(|hit| self.cache.is_idle(hit.block));
        idle.count()
    }

    /// Give a sequence without blocks what `prefix` found for it.
    pub fn adopt(&mut self, sequence: &mut Sequence, hits: &[Hit]) {
        for hit in hits {
            self.share(hit.block);
            sequence.blocks.push(hit.block);
            sequence.links.push(hit.link);
        }
        sequence.computed = hits.len() * self.block_size;
    }

    /// Lengthen the table of a sequence to hold this many tokens, as far as blocks are available; the tokens that
    /// it holds then.
    pub fn extend(&mut self, sequence: &mut Sequence, tokens: usize) -> usize {
        while sequence.blocks.len() * self.block_size < tokens {
            let Some(block) = self.take() else {
                break;
            };
            sequence.blocks.push(block);
        }
        tokens.min(sequence.blocks.len() * self.block_size)
    }

    /// Register the full blocks that the sequence has computed. Where the cache has the same tokens already, the
    /// sequence goes over to that block: the memory is kept once, and nobody holds a block without its parent.
    pub fn register(&mut self, sequence: &mut Sequence) {
        if !self.shares {
            return;
        }
        for index in sequence.links.len()..sequence.computed / self.block_size {
            let start = index * self.block_size;
            let tokens = &sequence.tokens[start..start + self.block_size];
            let (parent, own) = (sequence.parent(), sequence.blocks[index]);
            let link = if let Some(hit) = self.cache.find(parent, tokens) {
                self.share(hit.block);
                self.release(own);
                sequence.blocks[index] = hit.block;
                hit.link
            } else {
                self.cache.insert(parent, tokens, own)
            };
            sequence.links.push(link);
        }
    }

    /// Take every block of a sequence back. The last go first, so that they are evicted before their parents.
    pub fn reclaim(&mut self, sequence: &mut Sequence) {
        for block in std::mem::take(&mut sequence.blocks).into_iter().rev() {
            self.release(block);
        }
        sequence.links.clear();
        sequence.computed = 0;
    }

    fn take(&mut self) -> Option<u32> {
        let block = self.free.pop().or_else(|| self.cache.evict())?;
        self.holders[block as usize] = 1;
        Some(block)
    }

    fn share(&mut self, block: u32) {
        self.cache.hold(block);
        self.holders[block as usize] += 1;
    }

    fn release(&mut self, block: u32) {
        let holders = &mut self.holders[block as usize];
        *holders -= 1;
        if *holders == 0 && !self.cache.rest(block) {
            self.free.push(block);
        }
    }
}
