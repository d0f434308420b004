//! The states of layers without attention: one a sequence, which the first block of its table stands for.

use candle_core::{Error, Result};

use super::batch::Batch;
use super::description::Description;

/// What one layer keeps of a sequence; nothing in layers with attention.
#[derive(Debug, Default)]
pub(crate) struct LayerState {
    /// The last rows before the convolution, `[kernel - 1, width]`.
    pub history: Vec<f32>,
    /// The matrices of the delta rule, `[value heads, key size, value size]`.
    pub memory: Vec<f32>,
}

/// All layers' states of a sequence.
#[derive(Debug)]
struct State {
    first_block: u32,
    /// Tokens that it has seen.
    seen: usize,
    layers: Vec<LayerState>,
}

/// The states of all sequences that run.
#[derive(Debug)]
pub(crate) struct States {
    /// Values of history and memory, for each layer.
    sizes: Vec<(usize, usize)>,
    held: Vec<State>,
}

impl States {
    /// `None` for a model whose layers all have attention.
    pub fn new(shape: &Description) -> Option<Self> {
        let recurrent = shape.recurrent?;
        let sizes = shape.layers.iter().map(|layer| {
            if layer.recurrent {
                (recurrent.history_len(), recurrent.delta.state_len())
            } else {
                (0, 0)
            }
        });
        Some(Self {
            sizes: sizes.collect(),
            held: Vec::new(),
        })
    }

    /// Prepare the states for a batch: a sequence that starts gets an empty one, every other goes on with its own.
    pub fn begin(&mut self, batch: &Batch) -> Result<()> {
        for part in batch.parts() {
            if part.position == 0 {
                self.held
                    .retain(|state| state.first_block != part.first_block);
                self.held.push(self.empty(part.first_block));
            }
            let state = self.state(part.first_block)?;
            if state.seen != part.position {
                return Err(Error::msg(format!(
                    "a state that has seen {} tokens is to go on at token {}",
                    state.seen, part.position
                )));
            }
            state.seen += part.len;
        }
        Ok(())
    }

    /// Drop the states of sequences that run no more.
    pub fn keep(&mut self, first_blocks: &[u32]) {
        self.held
            .retain(|state| first_blocks.contains(&state.first_block));
    }

    /// Take a layer's state of a sequence out, to be put back when it has gone on.
    pub fn take(&mut self, first_block: u32, layer: usize) -> Result<LayerState> {
        let state = self.state(first_block)?;
        Ok(std::mem::take(&mut state.layers[layer]))
    }

    /// Put it back.
    pub fn put(&mut self, first_block: u32, layer: usize, value: LayerState) -> Result<()> {
        self.state(first_block)?.layers[layer] = value;
        Ok(())
    }

    fn state(&mut self, first_block: u32) -> Result<&mut State> {
        let mut held = self.held.iter_mut();
        held.find(|state| state.first_block == first_block)
            .ok_or_else(|| Error::msg("a sequence goes on whose state is not there"))
    }

    fn empty(&self, first_block: u32) -> State {
        let layers = self.sizes.iter().map(|&(history, memory)| LayerState {
            history: vec![0.0; history],
            memory: vec![0.0; memory],
        });
        State {
            first_block,
            seen: 0,
            layers: layers.collect(),
        }
    }
}
