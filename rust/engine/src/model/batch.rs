//! One ragged batch: flat tokens of several sequences, each with its positions, KV slots and block table.

use cortex_kernels::AttentionSequence;

/// Which rows of a sequence go through the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outputs {
    /// None: a chunk in the middle of a prompt.
    None,
    /// The last one: the next token is sampled.
    Last,
    /// All of them: tests and scoring.
    All,
}

/// Tokens of one sequence in the batch.
#[derive(Debug)]
struct Span {
    query_start: usize,
    query_len: usize,
    context_len: usize,
    blocks: std::ops::Range<usize>,
}

/// Tokens of one sequence, which its first block stands for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchPart {
    /// The block of position 0.
    pub first_block: u32,
    /// Of the first token.
    pub position: usize,
    /// Of the first token in the batch.
    pub row: usize,
    /// Tokens.
    pub len: usize,
}

/// The input of one forward pass.
#[derive(Debug)]
pub struct Batch {
    block_size: usize,
    pub(crate) tokens: Vec<u32>,
    pub(crate) positions: Vec<u32>,
    /// Tokens of the whole sequence, for each token of the batch.
    pub(crate) lengths: Vec<u32>,
    pub(crate) slots: Vec<u32>,
    pub(crate) outputs: Vec<usize>,
    spans: Vec<Span>,
    blocks: Vec<u32>,
}

impl Batch {
    /// An empty batch over KV blocks of this many tokens.
    pub fn new(block_size: usize) -> Self {
        Self {
            block_size,
            tokens: Vec::new(),
            positions: Vec::new(),
            lengths: Vec::new(),
            slots: Vec::new(),
            outputs: Vec::new(),
            spans: Vec::new(),
            blocks: Vec::new(),
        }
    }

    /// Empty it for the next step; the memory stays.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.lengths.clear();
        self.slots.clear();
        self.outputs.clear();
        self.spans.clear();
        self.blocks.clear();
    }

    /// Add the last `tokens` of a sequence, at positions from `start`; `blocks` is its table from position 0 on and
    /// must reach the last of them.
    pub fn push(&mut self, start: usize, tokens: &[u32], blocks: &[u32], outputs: Outputs) {
        self.push_part(start, tokens, start + tokens.len(), blocks, outputs);
    }

    /// The same for tokens in the middle of a sequence of which `length` tokens are known.
    pub fn push_part(
        &mut self,
        start: usize,
        tokens: &[u32],
        length: usize,
        blocks: &[u32],
        outputs: Outputs,
    ) {
        let query_start = self.tokens.len();
        let context_len = start + tokens.len();
        assert!(
            blocks.len() * self.block_size >= context_len,
            "the block table ends before the tokens"
        );
        for position in start..context_len {
            let block = blocks[position / self.block_size];
            let slot = block as usize * self.block_size + position % self.block_size;
            self.positions.push(position as u32);
            self.slots.push(slot as u32);
        }
        self.tokens.extend_from_slice(tokens);
        self.lengths.resize(self.tokens.len(), length as u32);
        let end = self.tokens.len();
        match outputs {
            Outputs::None => {}
            Outputs::Last => self.outputs.extend(end.checked_sub(1)),
            Outputs::All => self.outputs.extend(query_start..end),
        }
        let first_block = self.blocks.len();
        self.blocks.extend_from_slice(blocks);
        self.spans.push(Span {
            query_start,
            query_len: tokens.len(),
            context_len,
            blocks: first_block..self.blocks.len(),
        });
    }

    /// Tokens of all sequences.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is nothing to compute.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The sequences as the states take them.
    pub(crate) fn parts(&self) -> impl Iterator<Item = BatchPart> {
        self.spans.iter().map(|span| BatchPart {
            first_block: self.blocks[span.blocks.start],
            position: span.context_len - span.query_len,
            row: span.query_start,
            len: span.query_len,
        })
    }

    /// The sequences as the attention kernel takes them.
    pub(crate) fn sequences(&self) -> Vec<AttentionSequence<'_>> {
        let spans = self.spans.iter();
        spans
            .map(|span| AttentionSequence {
                query_start: span.query_start,
                query_len: span.query_len,
                context_len: span.context_len,
                blocks: &self.blocks[span.blocks.clone()],
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn slots_follow_the_block_table_and_outputs_the_flat_order() {
        let mut batch = Batch::new(4);
        batch.push(3, &[10, 11, 12], &[7, 2], Outputs::Last);
        batch.push(0, &[20, 21], &[5], Outputs::All);
        assert_eq!(batch.tokens, [10, 11, 12, 20, 21]);
        assert_eq!(batch.positions, [3, 4, 5, 0, 1]);
        assert_eq!(batch.slots, [31, 8, 9, 20, 21]);
        assert_eq!(batch.outputs, [2, 3, 4]);
        let sequences = batch.sequences();
        assert_eq!((sequences[1].query_start, sequences[1].context_len), (3, 2));
        assert_eq!(sequences[0].blocks, [7, 2]);
    }
}
