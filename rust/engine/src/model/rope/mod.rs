//! Rotary positions: which values turn together, how fast, and the tables of one batch.

mod scaling;

pub use scaling::{Llama3Scaling, LongScaling, RopeScaling, YarnScaling};
pub(crate) use scaling::{long_magnitude, yarn_magnitude};

use super::description::invalid;
use crate::EngineError;
use scaling::positive;

/// Which values of a head form a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeKind {
    /// Value i turns with value i + dims / 2.
    HalfSplit,
    /// Value 2i turns with value 2i + 1.
    Interleaved,
}

/// Rotary positions of some layers of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Pairing.
    pub kind: RopeKind,
    /// Base of the geometric series of frequencies.
    pub theta: f32,
    /// Values of a head that turn; the others stay as they are.
    pub dims: usize,
    /// Stretching.
    pub scaling: RopeScaling,
}

/// How fast pairs turn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rotation {
    /// Radians per position of each pair.
    pub frequencies: Vec<f32>,
    /// The same for sequences of more tokens than this.
    pub beyond: Option<(usize, Vec<f32>)>,
    /// Factor of what is rotated.
    pub magnitude: f32,
}

impl Rope {
    /// The frequencies, if the numbers make sense.
    pub(crate) fn rotation(&self) -> Result<Rotation, EngineError> {
        let sound = self.dims.is_multiple_of(2) && self.theta.is_finite() && self.theta > 1.0;
        if !sound {
            return Err(invalid(format!(
                "rotation of {} values with base {}",
                self.dims, self.theta
            )));
        }
        let base = (0..self.dims / 2).map(|pair| {
            let exponent = (2 * pair) as f32 / self.dims as f32;
            1.0 / self.theta.powf(exponent)
        });
        let base: Vec<f32> = base.collect();
        let plain = |frequencies| Rotation {
            frequencies,
            beyond: None,
            magnitude: 1.0,
        };
        match &self.scaling {
            RopeScaling::None => Ok(plain(base)),
            RopeScaling::Linear(factor) => {
                positive("rope scaling factor", *factor)?;
                Ok(plain(base.iter().map(|base| base / factor).collect()))
            }
            RopeScaling::Llama3(scaling) => {
                scaling.check()?;
                Ok(plain(
                    base.iter().map(|base| scaling.stretch(*base)).collect(),
                ))
            }
            RopeScaling::Factors(factors) => Ok(plain(divided(&base, factors)?)),
            RopeScaling::Yarn(scaling) => {
                scaling.check()?;
                let ramp = scaling.ramp(self.dims, self.theta);
                let pairs = base.iter().enumerate();
                let stretched = pairs.map(|(pair, base)| scaling.stretch(pair, *base, ramp));
                Ok(Rotation {
                    magnitude: scaling.magnitude,
                    ..plain(stretched.collect())
                })
            }
            RopeScaling::Long(scaling) => {
                scaling.check()?;
                Ok(Rotation {
                    frequencies: divided(&base, &scaling.short)?,
                    beyond: Some((scaling.original_context, divided(&base, &scaling.long)?)),
                    magnitude: scaling.magnitude,
                })
            }
        }
    }
}

/// Frequencies by their divisors.
fn divided(base: &[f32], factors: &[f32]) -> Result<Vec<f32>, EngineError> {
    if factors.len() != base.len() {
        let (found, pairs) = (factors.len(), base.len());
        return Err(invalid(format!("{found} rope factors for {pairs} pairs")));
    }
    for factor in factors {
        positive("a rope factor", *factor)?;
    }
    let pairs = base.iter().zip(factors);
    Ok(pairs.map(|(base, factor)| base / factor).collect())
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
    /// Fill the tables for tokens at these positions of sequences that are so long.
    pub fn fill(&mut self, rotation: &Rotation, positions: &[u32], lengths: &[u32]) {
        self.cos.clear();
        self.sin.clear();
        for (&position, &length) in positions.iter().zip(lengths) {
            let frequencies = match &rotation.beyond {
                Some((limit, frequencies)) if length as usize > *limit => frequencies,
                _ => &rotation.frequencies,
            };
            for &frequency in frequencies {
                let (sin, cos) = (position as f32 * frequency).sin_cos();
                self.cos.push(cos * rotation.magnitude);
                self.sin.push(sin * rotation.magnitude);
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

    fn frequencies(scaling: RopeScaling) -> Vec<f32> {
        rope(scaling).rotation().unwrap().frequencies
    }

    fn yarn() -> YarnScaling {
        YarnScaling {
            factor: 4.0,
            original_context: 64.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            truncate: true,
            magnitude: 1.5,
        }
    }

    #[test]
    fn llama3_keeps_short_waves_and_divides_long_ones() {
        let plain = frequencies(RopeScaling::None);
        let stretched = frequencies(RopeScaling::Llama3(Llama3Scaling {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 64.0,
        }));
        assert_eq!(stretched[0], plain[0]);
        assert!(stretched[1] < plain[1] && stretched[1] >= plain[1] / 8.0);
        assert_eq!(stretched[3], plain[3] / 8.0);
    }

    #[test]
    fn linear_and_factors_divide() {
        let plain = frequencies(RopeScaling::None);
        assert_eq!(frequencies(RopeScaling::Linear(4.0))[2], plain[2] / 4.0);
        let factors = RopeScaling::Factors(vec![1.0, 2.0, 3.0, 4.0]);
        assert_eq!(frequencies(factors)[3], plain[3] / 4.0);
    }

    #[test]
    fn yarn_keeps_fast_pairs_and_divides_slow_ones() {
        let plain = frequencies(RopeScaling::None);
        let stretched = frequencies(RopeScaling::Yarn(yarn()));
        assert_eq!(stretched[0], plain[0]);
        assert!(stretched[1] < plain[1] && stretched[1] > plain[1] / 4.0);
        assert_eq!(stretched[3], plain[3] / 4.0);
        let smooth = frequencies(RopeScaling::Yarn(YarnScaling {
            truncate: false,
            ..yarn()
        }));
        assert_ne!(smooth[1], stretched[1]);
    }

    #[test]
    fn the_length_of_the_sequence_chooses_the_factors_and_the_magnitude_scales() {
        let long = LongScaling {
            short: vec![1.0; 4],
            long: vec![2.0; 4],
            original_context: 10,
            magnitude: 1.5,
        };
        let rotation = rope(RopeScaling::Long(long)).rotation().unwrap();
        let mut tables = RopeTables::default();
        tables.fill(&rotation, &[1, 1, 0], &[10, 11, 11]);
        assert_eq!(tables.sin[0], 1.5 * 1.0_f32.sin());
        assert_eq!(tables.sin[4], 1.5 * 0.5_f32.sin());
        assert_eq!((tables.cos[8], tables.sin[8]), (1.5, 0.0));
    }

    #[test]
    fn impossible_numbers_are_refused() {
        for scaling in [
            RopeScaling::Linear(0.0),
            RopeScaling::Linear(f32::NAN),
            RopeScaling::Factors(vec![1.0]),
            RopeScaling::Factors(vec![1.0, 1.0, 0.0, 1.0]),
            RopeScaling::Yarn(YarnScaling {
                beta_fast: 0.5,
                ..yarn()
            }),
            RopeScaling::Yarn(YarnScaling {
                magnitude: f32::NAN,
                ..yarn()
            }),
            RopeScaling::Long(LongScaling {
                short: vec![1.0; 4],
                long: vec![1.0; 3],
                original_context: 8,
                magnitude: 1.0,
            }),
        ] {
            assert!(rope(scaling).rotation().is_err());
        }
    }
}
