//! Rotary positions: which values turn together, how fast, and the tables of one batch.

use super::description::invalid;
use crate::EngineError;

/// Which values of a head form a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeKind {
    /// Value i turns with value i + dims / 2.
    HalfSplit,
    /// Value 2i turns with value 2i + 1.
    Interleaved,
}

/// How the frequencies were stretched for long contexts.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// As trained.
    None,
    /// All positions divided by a factor.
    Linear(f32),
    /// Llama 3.1: long waves are divided by a factor, short ones kept, a ramp between.
    Llama3(Llama3Scaling),
    /// A divisor for each pair, from the tensor `rope_freqs.weight`.
    Factors(Vec<f32>),
}

/// Parameters of Llama 3.1's scaling, named as in `config.json`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Llama3Scaling {
    /// Divisor of the long waves.
    pub factor: f32,
    /// Waves longer than `original_context / low_freq_factor` are long.
    pub low_freq_factor: f32,
    /// Waves shorter than `original_context / high_freq_factor` are short.
    pub high_freq_factor: f32,
    /// Context length before the stretching.
    pub original_context: f32,
}

/// Rotary positions of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Pairing.
    pub kind: RopeKind,
    /// Base of the geometric series of frequencies.
    pub theta: f32,
    /// Values of a head that turn.
    pub dims: usize,
    /// Stretching.
    pub scaling: RopeScaling,
}

impl Rope {
    /// Radians per position of each pair.
    pub(crate) fn frequencies(&self) -> Result<Vec<f32>, EngineError> {
        let sound = self.dims.is_multiple_of(2) && self.theta.is_finite() && self.theta > 0.0;
        if !sound {
            return Err(invalid(format!(
                "rotation of {} values with base {}",
                self.dims, self.theta
            )));
        }
        let pairs = self.dims / 2;
        let base = (0..pairs).map(|pair| {
            let exponent = (2 * pair) as f32 / self.dims as f32;
            1.0 / self.theta.powf(exponent)
        });
        match &self.scaling {
            RopeScaling::None => Ok(base.collect()),
            RopeScaling::Linear(factor) => {
                positive("rope scaling factor", *factor)?;
                Ok(base.map(|frequency| frequency / factor).collect())
            }
            RopeScaling::Llama3(scaling) => {
                scaling.check()?;
                Ok(base.map(|frequency| scaling.stretch(frequency)).collect())
            }
            RopeScaling::Factors(factors) => {
                if factors.len() != pairs {
                    let found = factors.len();
                    return Err(invalid(format!(
                        "rope_freqs.weight has {found} values for {pairs} pairs"
                    )));
                }
                for factor in factors {
                    positive("a value of rope_freqs.weight", *factor)?;
                }
                Ok(base
                    .zip(factors)
                    .map(|(frequency, factor)| frequency / factor)
                    .collect())
            }
        }
    }
}

impl Llama3Scaling {
    fn check(&self) -> Result<(), EngineError> {
        positive("rope scaling factor", self.factor)?;
        positive("low_freq_factor", self.low_freq_factor)?;
        positive("original_max_position_embeddings", self.original_context)?;
        if self.high_freq_factor > self.low_freq_factor {
            return Ok(());
        }
        Err(invalid(
            "high_freq_factor must be above low_freq_factor".to_owned(),
        ))
    }

    fn stretch(&self, frequency: f32) -> f32 {
        let wave = 2.0 * std::f32::consts::PI / frequency;
        if wave < self.original_context / self.high_freq_factor {
            return frequency;
        }
        if wave > self.original_context / self.low_freq_factor {
            return frequency / self.factor;
        }
        let span = self.high_freq_factor - self.low_freq_factor;
        let smooth = (self.original_context / wave - self.low_freq_factor) / span;
        (1.0 - smooth) * frequency / self.factor + smooth * frequency
    }
}

fn positive(what: &str, value: f32) -> Result<(), EngineError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(invalid(format!("{what} is {value}")))
}

/// Cosines and sines of every token of a batch, `[tokens, pairs]` each.
#[derive(Debug, Default)]
pub(crate) struct RopeTables {
    /// Cosines.
    pub cos: Vec<f32>,
    /// Sines.
    pub sin: Vec<f32>,
}

impl RopeTables {
    /// Fill the tables for these positions.
    pub fn fill(&mut self, frequencies: &[f32], positions: &[u32]) {
        self.cos.clear();
        self.sin.clear();
        for &position in positions {
            for &frequency in frequencies {
                let (sin, cos) = (position as f32 * frequency).sin_cos();
                self.cos.push(cos);
                self.sin.push(sin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::float_cmp)]
    use super::*;

    fn rope(scaling: RopeScaling) -> Rope {
        Rope {
            kind: RopeKind::HalfSplit,
            theta: 10_000.0,
            dims: 8,
            scaling,
        }
    }

    #[test]
    fn llama3_keeps_short_waves_and_divides_long_ones() {
        let plain = rope(RopeScaling::None).frequencies().unwrap();
        let scaling = Llama3Scaling {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 64.0,
        };
        let stretched = rope(RopeScaling::Llama3(scaling)).frequencies().unwrap();
        assert_eq!(stretched[0], plain[0]);
        assert!(stretched[1] < plain[1] && stretched[1] >= plain[1] / 8.0);
        assert_eq!(stretched[3], plain[3] / 8.0);
    }

    #[test]
    fn linear_and_factors_divide() {
        let plain = rope(RopeScaling::None).frequencies().unwrap();
        let linear = rope(RopeScaling::Linear(4.0)).frequencies().unwrap();
        assert_eq!(linear[2], plain[2] / 4.0);
        let factors = rope(RopeScaling::Factors(vec![1.0, 2.0, 3.0, 4.0]));
        assert_eq!(factors.frequencies().unwrap()[3], plain[3] / 4.0);
    }

    #[test]
    fn impossible_numbers_are_refused() {
        for scaling in [
            RopeScaling::Linear(0.0),
            RopeScaling::Linear(f32::NAN),
            RopeScaling::Factors(vec![1.0]),
            RopeScaling::Factors(vec![1.0, 1.0, 0.0, 1.0]),
        ] {
            assert!(rope(scaling).frequencies().is_err());
        }
    }
}
