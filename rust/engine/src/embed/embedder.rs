//! The model behind the vectors: an encoder, or a decoder whose states are pooled.

use super::decoder::DecoderEmbedder;
use super::pooling::Pooling;
use crate::encoder::{Encoder, Stopped};

/// Makes one vector a text.
pub(crate) enum Embedder {
    Encoder(Box<Encoder>, Pooling),
    Decoder(Box<DecoderEmbedder>),
}

/// Why a pass gave no vectors.
#[derive(Debug)]
pub(crate) enum Halt {
    /// Nobody waits for them any more.
    Unwanted,
    /// The pass failed; the model is not to be trusted any more.
    Failed(String),
}

impl Embedder {
    /// The vectors of some texts, not yet of length 1; `wanted` is asked now and then on the way.
    pub fn embed(
        &mut self,
        texts: &[&[u32]],
        wanted: &dyn Fn() -> bool,
    ) -> Result<Vec<Vec<f32>>, Halt> {
        match self {
            Self::Decoder(decoder) => decoder.embed(texts, wanted),
            Self::Encoder(encoder, pooling) => {
                let states = encoder
                    .forward(texts, wanted)
                    .map_err(|stopped| match stopped {
                        Stopped::Unwanted => Halt::Unwanted,
                        Stopped::Failed(error) => Halt::Failed(error.to_string()),
                    })?;
                let width = encoder.description().hidden;
                Ok(pooled(&states, width, texts, *pooling))
            }
        }
    }

    /// Values of one vector.
    pub fn dimensions(&self) -> usize {
        match self {
            Self::Encoder(encoder, _) => encoder.description().hidden,
            Self::Decoder(decoder) => decoder.dimensions(),
        }
    }

    /// Bytes of the converted weights.
    pub fn weights_bytes(&self) -> u64 {
        match self {
            Self::Encoder(encoder, _) => encoder.weights_bytes(),
            Self::Decoder(decoder) => decoder.weights_bytes(),
        }
    }

    /// Whether texts of these lengths fit into one pass.
    pub fn fits(&self, lengths: impl Iterator<Item = usize>) -> bool {
        match self {
            Self::Encoder(..) => true,
            Self::Decoder(decoder) => decoder.fits(lengths),
        }
    }
}

fn pooled(states: &[f32], width: usize, texts: &[&[u32]], pooling: Pooling) -> Vec<Vec<f32>> {
    let mut rest = states;
    let vectors = texts.iter().map(|text| {
        let (own, others) = rest.split_at(text.len() * width);
        rest = others;
        match pooling {
            Pooling::Cls => own[..width].to_vec(),
            Pooling::Last => own[own.len() - width..].to_vec(),
            Pooling::Mean => {
                let mut mean = Mean::new(width);
                mean.add(own);
                mean.finish()
            }
        }
    });
    vectors.collect()
}

/// The mean of rows that come in order.
pub(super) struct Mean {
    sums: Vec<f64>,
    rows: usize,
}

impl Mean {
    pub fn new(width: usize) -> Self {
        Self {
            sums: vec![0.0; width],
            rows: 0,
        }
    }

    pub fn add(&mut self, rows: &[f32]) {
        for row in rows.chunks_exact(self.sums.len()) {
            self.rows += 1;
            for (sum, value) in self.sums.iter_mut().zip(row) {
                *sum += f64::from(*value);
            }
        }
    }

    pub fn finish(&self) -> Vec<f32> {
        let means = self.sums.iter().map(|sum| sum / self.rows.max(1) as f64);
        means.map(|mean| mean as f32).collect()
    }
}

/// Bring a vector to length 1; `None` if it has no direction.
pub(super) fn normalised(vector: &[f32]) -> Option<Vec<f32>> {
    let square: f64 = vector.iter().map(|value| f64::from(*value).powi(2)).sum();
    let length = square.sqrt();
    let sound = length.is_finite() && length > 0.0;
    sound.then(|| {
        vector
            .iter()
            .map(|value| (f64::from(*value) / length) as f32)
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_pooling_takes_the_states_of_its_text_alone() {
        let states = [1.0, 2.0, 3.0, 4.0, 5.0, 9.0, 7.0, 8.0];
        let texts: [&[u32]; 2] = [&[1, 2, 3], &[4]];
        let pool = |pooling| pooled(&states, 2, &texts, pooling);
        assert_eq!(pool(Pooling::Cls), [[1.0, 2.0], [7.0, 8.0]]);
        assert_eq!(pool(Pooling::Last), [[5.0, 9.0], [7.0, 8.0]]);
        assert_eq!(pool(Pooling::Mean), [[3.0, 5.0], [7.0, 8.0]]);
    }

    #[test]
    fn a_vector_without_direction_is_none() {
        assert_eq!(normalised(&[3.0, 4.0]), Some(vec![0.6, 0.8]));
        assert_eq!(normalised(&[0.0, 0.0]), None);
        assert_eq!(normalised(&[f32::NAN, 1.0]), None);
        assert_eq!(
            normalised(&[f32::MAX, f32::MAX]).map(|vector| vector.len()),
            Some(2)
        );
    }
}
