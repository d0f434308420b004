//! A decoder that embeds: texts run as prompts through the paged cache, and their states are pooled.

use candle_core::Tensor;

use super::embedder::{Halt, Mean};
use super::pooling::Pooling;
use crate::model::{Batch, Decoder, KvCache, Outputs};

/// A decoder with a cache for the texts of one pass.
pub(crate) struct DecoderEmbedder {
    decoder: Decoder,
    cache: KvCache,
    /// Blocks of the cache.
    blocks: usize,
    pooling: Pooling,
    /// Most tokens of one forward pass.
    step_tokens: usize,
}

/// Tokens `start..start + len` of a text.
struct Chunk {
    text: usize,
    start: usize,
    len: usize,
}

impl DecoderEmbedder {
    pub fn new(
        decoder: Decoder,
        cache: KvCache,
        blocks: usize,
        pooling: Pooling,
        step_tokens: usize,
    ) -> Self {
        Self {
            decoder,
            cache,
            blocks,
            pooling,
            step_tokens: step_tokens.max(1),
        }
    }

    pub fn dimensions(&self) -> usize {
        self.decoder.description().hidden
    }

    pub fn weights_bytes(&self) -> u64 {
        self.decoder.weights_bytes()
    }

    pub fn fits(&self, lengths: impl Iterator<Item = usize>) -> bool {
        let size = self.cache.block_size();
        lengths.map(|len| len.div_ceil(size)).sum::<usize>() <= self.blocks
    }

    pub fn embed(
        &mut self,
        texts: &[&[u32]],
        wanted: &dyn Fn() -> bool,
    ) -> Result<Vec<Vec<f32>>, Halt> {
        let tables = self.tables(texts);
        let width = self.dimensions();
        let mut vectors: Vec<Vec<f32>> = texts.iter().map(|_| Vec::new()).collect();
        let mut means: Vec<Mean> = texts.iter().map(|_| Mean::new(width)).collect();
        for step in steps(texts, self.step_tokens) {
            if !wanted() {
                return Err(Halt::Unwanted);
            }
            let mut batch = Batch::new(self.cache.block_size());
            for chunk in &step {
                let tokens = &texts[chunk.text][chunk.start..chunk.start + chunk.len];
                let last = chunk.start + chunk.len == texts[chunk.text].len();
                let length = texts[chunk.text].len();
                let outputs = self.outputs(last);
                batch.push_part(chunk.start, tokens, length, &tables[chunk.text], outputs);
            }
            let states = self.decoder.hidden(&batch, &self.cache);
            let states = states.and_then(|states| states.as_ref().map_or(Ok(Vec::new()), flat));
            let states = states.map_err(|error| Halt::Failed(format!("forward pass: {error}")))?;
            let mut rest = states.as_slice();
            for chunk in &step {
                let last = chunk.start + chunk.len == texts[chunk.text].len();
                let rows = match self.outputs(last) {
                    Outputs::None => 0,
                    Outputs::Last => 1,
                    Outputs::All => chunk.len,
                };
                let (own, others) = rest.split_at(rows * width);
                rest = others;
                match self.pooling {
                    Pooling::Mean => means[chunk.text].add(own),
                    Pooling::Cls if chunk.start == 0 => vectors[chunk.text] = own[..width].to_vec(),
                    Pooling::Last if last => vectors[chunk.text] = own.to_vec(),
                    _ => {}
                }
            }
        }
        self.cache.keep(std::iter::empty());
        if self.pooling == Pooling::Mean {
            vectors = means.iter().map(Mean::finish).collect();
        }
        Ok(vectors)
    }

    fn outputs(&self, last: bool) -> Outputs {
        match self.pooling {
            Pooling::Mean | Pooling::Cls => Outputs::All,
            Pooling::Last if last => Outputs::Last,
            Pooling::Last => Outputs::None,
        }
    }

    /// Blocks for each text, one after the other.
    fn tables(&self, texts: &[&[u32]]) -> Vec<Vec<u32>> {
        let mut next = 0;
        let tables = texts.iter().map(|text| {
            let count = text.len().div_ceil(self.cache.block_size()) as u32;
            next += count;
            (next - count..next).collect()
        });
        tables.collect()
    }
}

fn flat(states: &Tensor) -> candle_core::Result<Vec<f32>> {
    states.flatten_all()?.to_vec1()
}

/// The texts in order, cut into passes of so many tokens.
fn steps(texts: &[&[u32]], limit: usize) -> Vec<Vec<Chunk>> {
    let mut steps = vec![Vec::new()];
    let mut room = limit;
    for (text, tokens) in texts.iter().enumerate() {
        let mut start = 0;
        while start < tokens.len() {
            if room == 0 {
                steps.push(Vec::new());
                room = limit;
            }
            let len = room.min(tokens.len() - start);
            if let Some(step) = steps.last_mut() {
                step.push(Chunk { text, start, len });
            }
            start += len;
            room -= len;
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_where_a_pass_is_full() {
        let texts: [&[u32]; 3] = [&[0; 3], &[0; 9], &[0; 2]];
        let steps = steps(&texts, 5);
        let found: Vec<Vec<(usize, usize, usize)>> = steps
            .iter()
            .map(|step| {
                step.iter()
                    .map(|chunk| (chunk.text, chunk.start, chunk.len))
                    .collect()
            })
            .collect();
        let expected = vec![
            vec![(0, 0, 3), (1, 0, 2)],
            vec![(1, 2, 5)],
            vec![(1, 7, 2), (2, 0, 2)],
        ];
        assert_eq!(found, expected);
    }
}
